"""Gradio components that the tabs share."""
