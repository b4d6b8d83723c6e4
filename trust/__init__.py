"""What can go wrong, tried: ``make trust`` runs all of it and prints one table."""
