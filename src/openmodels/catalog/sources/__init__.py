"""The catalogs that models are found in, one file each."""
