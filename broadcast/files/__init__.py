"""The files that people share: their contents on disk, what is read from their headers, and their end."""
