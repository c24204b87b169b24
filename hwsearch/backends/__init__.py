"""Deployment backends, one file each."""
