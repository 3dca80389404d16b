"""The demo: `pixelar demo`. It needs the extra `pixelar[demo]`, and nothing leaves the machine."""

import os

# Gradio reads these when it is imported, which the modules of this package do
os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
