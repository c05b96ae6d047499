"""What a delivery costs here, in other chat servers, and in a C program that does nothing else."""
