"""Fakes that ship with the product. Nobody gets one unasked."""
