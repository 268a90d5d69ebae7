"""Fraud among card payments, five in a thousand of them, once in each framework."""
