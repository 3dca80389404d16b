"""The style of the page. Fonts are those of the machine: nothing is fetched."""

import json

import gradio as gr
from PIL import ImageColor

from pixelar.demo.assets import read_asset
from pixelar.demo.inputs.canvas import COLOURS

__all__ = ["css", "script", "theme"]


def theme() -> gr.themes.Base:
    """Returns the page's colours and sizes; text on buttons has the contrast that WCAG requires."""
    fonts = ["ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
    mono = ["ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace"]
    return gr.themes.Default(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=fonts,
        font_mono=mono,
    ).set(
        body_background_fill="*neutral_50",
        block_shadow="none",
        block_label_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        button_cancel_background_fill="*neutral_200",
        button_cancel_background_fill_hover="*neutral_300",
        button_cancel_background_fill_dark="*neutral_700",
        button_cancel_text_color="*neutral_900",
        button_cancel_text_color_dark="*neutral_50",
    )


def css() -> str:
    """Returns the style sheet of the page."""
    return read_asset("page.css")


def script() -> str:
    """Returns the script that the page runs when it has loaded."""
    names = {f"rgb{ImageColor.getrgb(code)}": name for code, name in COLOURS.items()}
    return f"() => ({read_asset('name_colours.js')})({json.dumps(names)})"
