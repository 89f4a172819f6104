"""What is kept: the database, image content, unpacked layers, disks."""
