"""The cost of a delivery in broadcast, in other chat servers, and in a C program that only delivers (the floor)."""
