"""Reports: figures, tables and files drawn from a study. No science here."""
