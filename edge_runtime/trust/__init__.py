"""Who made a bundle: signatures (OpenSSF model signing) and encryption (age)."""
