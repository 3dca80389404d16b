"""How the page looks. Fonts are those of the machine: nothing is fetched."""

import json

import gradio as gr
from PIL import ImageColor

from pixelar.demo.inputs.canvas import COLOURS

__all__ = ["CSS", "FOOTER", "HEADER", "script", "theme"]

HEADER = """
<header class="masthead">
  <h1>pixelar</h1>
  <p>Image models that draw one pixel at a time. Let them complete a picture, see which pixels
  surprise them, or draw samples.</p>
</header>
"""
FOOTER = """
<p class="colophon">Everything is computed on the machine that serves this page.</p>
"""


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


SCRIPT = """
() => {  // the colours of the brush are buttons without names
  const names = %s;
  const name = () => document.querySelectorAll("button:not([aria-label])").forEach(button => {
    const found = names[button.style.backgroundColor];
    if (found) { button.setAttribute("aria-label", found); button.title = found; }
  });
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
}
"""


def script() -> str:
    """Returns the script that the page runs when it has loaded."""
    names = {f"rgb{ImageColor.getrgb(code)}": name for code, name in COLOURS.items()}
    return SCRIPT % json.dumps(names)


CSS = """
.gradio-container, .gradio-container > .main { width: 100%; max-width: 1240px !important;
  margin: 0 auto !important; }
.html-container { padding: 0 !important; }
.masthead { padding: 18px 2px 6px; }
.masthead h1 { font-size: 2rem; font-weight: 700; letter-spacing: -0.02em; margin: 0; }
.masthead p { margin: 4px 0 0; color: var(--body-text-color-subdued); }
.colophon { padding: 12px 2px; font-size: 0.9rem; color: var(--body-text-color-subdued); }
.note, .note p { font-size: 0.88rem; color: var(--body-text-color-subdued); }
.refusal:not(:has(p)) { display: none; }
.refusal p { color: var(--error-text-color) !important; }
.pixels img { image-rendering: pixelated; }
.pixels .image-container { padding: 34px 10px 10px; }
.pixels .image-container .image-frame img { border-radius: 2px; max-height: 560px; }
.thumbnails .grid-wrap { height: auto; min-height: 0; max-height: none; padding: 0;
  overflow: visible; }
.thumbnails .gallery-container { height: auto; }
#complete-canvas button[style*="background-color"] {
  border: 1px solid var(--border-color-primary); }
button[role="tab"].selected { color: var(--primary-600) !important; }
.dark button[role="tab"].selected { color: var(--primary-300) !important; }
footer { margin-top: 0 !important; }
footer .divider { display: none; }
footer button { color: var(--body-text-color) !important; text-decoration: underline; }
/* errors are shown in a message; stopped work is not an error, but Gradio marks it as one */
[data-testid="status-tracker"]:has(.error) { display: none !important; }
.thumbnails img { image-rendering: pixelated; }
.thumbnails .grid-container { display: flex; flex-wrap: wrap; gap: 8px; padding: 2px; }
.thumbnails .gallery-item, .thumbnails .thumbnail-item { width: 52px; height: 52px;
  border-radius: 6px; }
.thumbnails .caption-label { display: none; }
.buttons { flex-wrap: nowrap; }
#complete-note:not(:has(p)), #complete-status:not(:has(p)), #sample-note:not(:has(p)),
#sample-status:not(:has(p)) { display: none; }
@media (max-width: 600px) { #complete-canvas { height: 400px !important; } }
.done:not(:has(progress)) { display: none; }
/* a run under way, or stopped, has no results; one that was stopped has no bar */
.of-a-run:has(.done progress) .of-a-result { display: none !important; }
.of-a-run:has(.stopped p) .done { display: none; }
.done progress { width: 100%; height: 6px; appearance: none; border: 0; border-radius: 3px;
  overflow: hidden; background: var(--border-color-primary); }
.done progress::-webkit-progress-bar { background: var(--border-color-primary); }
.done progress::-webkit-progress-value { background: var(--color-accent); }
.done progress::-moz-progress-bar { background: var(--color-accent); }
.figure { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 8px; margin: 0; }
.figure strong { font-size: 2.1rem; font-weight: 700; letter-spacing: -0.02em; }
.figure span { flex-basis: 100%; color: var(--body-text-color-subdued); }
.legend { display: flex; gap: 8px; align-items: center; justify-content: flex-end;
  font-size: 0.85rem; color: var(--body-text-color-subdued); margin-bottom: 10px; }
.legend i { display: inline-block; width: 120px; height: 10px; border-radius: 5px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 16px; }
.plot { margin: 0; padding: 12px; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); background: var(--block-background-fill); }
.plot figcaption { font-size: 0.9rem; font-weight: 600; color: var(--body-text-color); }
.plot svg { width: 100%; max-width: 480px; height: auto; display: block; margin: 0 auto; }
.plot text { font-size: 13px; fill: var(--body-text-color-subdued); }
.plot .bar { fill: #818cf8; padding: 0; }
.plot { --mark: #db2777; }
.dark .plot { --mark: #f472b6; }
.plot .bar.true, .plot text.mark, .plot .arrow { fill: var(--mark); }
.plot line.mark { stroke: var(--mark); stroke-width: 2; }
.plot text.mark { font-weight: 600; }
.plot text.share { font-weight: 600; fill: var(--body-text-color); }
.plot .axis { stroke: var(--border-color-primary); }
"""
