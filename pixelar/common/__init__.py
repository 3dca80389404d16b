"""Shared helpers: arguments as plain values, files written safely, workarounds for torch."""
