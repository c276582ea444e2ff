"""Models deployed on Azure."""
