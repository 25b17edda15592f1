"""Rules for the infrastructure, which cannot be deployed by a test."""
