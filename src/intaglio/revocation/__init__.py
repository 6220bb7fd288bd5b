"""The status of every certificate that was issued, or only planned: register, OCSP, CRL."""
