"""The look: warm paper and clay by day, warm charcoal by night. No font comes over the network."""

import gradio as gr

from demo.settings import ROOT

ASSETS = ROOT / "assets"

CLAY = gr.themes.Color(
    "#fdf4ee", "#fae5d8", "#f3c8b0", "#eaa685", "#e0845a", "#c8623a",
    "#a94b28", "#8a3c21", "#6f321e", "#5b2b1c", "#34160d", name="clay",
)  # fmt: skip
SAND = gr.themes.Color(
    "#fbf8f3", "#f4eee4", "#e8dfd1", "#d5c8b6", "#a99a88", "#83756a",
    "#675a50", "#4b413a", "#332c27", "#26201c", "#1b1714", name="sand",
)  # fmt: skip
SERIF = ("Iowan Old Style", "Palatino Linotype", "Palatino", "Book Antiqua", "Georgia", "serif")


def build_theme() -> gr.themes.Base:
    """Make the theme of every page; the layout is in `assets/studio.css`."""
    theme = gr.themes.Base(
        primary_hue=CLAY,
        secondary_hue=SAND,
        neutral_hue=SAND,
        radius_size=gr.themes.sizes.radius_lg,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )
    return theme.set(**_surfaces(), **_controls())


def _surfaces() -> dict[str, str]:
    return {
        "body_background_fill": "*neutral_50",
        "body_background_fill_dark": "*neutral_950",
        "body_text_color": "*neutral_900",
        "body_text_color_dark": "#efe6db",
        "body_text_color_subdued": "*neutral_600",
        "body_text_color_subdued_dark": "#b7a897",
        "background_fill_primary": "#fffdfa",
        "background_fill_primary_dark": "*neutral_900",
        "background_fill_secondary": "*neutral_100",
        "background_fill_secondary_dark": "#2d2621",
        "block_background_fill": "#fffdfa",
        "block_background_fill_dark": "*neutral_900",
        "block_border_color": "*neutral_200",
        "block_border_color_dark": "#3d342d",
        "border_color_primary": "*neutral_200",
        "border_color_primary_dark": "#3d342d",
        "border_color_accent": "*primary_400",
        "border_color_accent_dark": "*primary_400",
        "color_accent": "*primary_600",
        "color_accent_soft": "*primary_100",
        "color_accent_soft_dark": "#432a1e",
        "code_background_fill": "*neutral_100",
        "code_background_fill_dark": "#151110",
        "link_text_color": "*primary_700",
        "link_text_color_dark": "*primary_300",
        "block_shadow": "none",
        "block_label_text_color": "*neutral_700",
        "block_label_text_color_dark": "#d9ccbd",
        "block_title_text_color": "*neutral_800",
        "block_title_text_color_dark": "#d9ccbd",
        "block_title_text_weight": "500",
        "block_info_text_color": "*neutral_600",
        "block_info_text_color_dark": "#b7a897",
    }


def _controls() -> dict[str, str]:
    return {
        "input_background_fill": "#fffdfa",
        "input_background_fill_dark": "*neutral_900",
        "input_border_color": "*neutral_300",
        "input_border_color_dark": "#51463d",
        "input_border_color_focus": "*primary_500",
        "input_border_color_focus_dark": "*primary_400",
        "input_shadow_focus": "0 0 0 3px rgb(200 98 58 / 18%)",
        "input_placeholder_color": "#776a5f",
        "input_placeholder_color_dark": "#9b8c7d",
        "slider_color": "*primary_600",
        "slider_color_dark": "*primary_400",
        "button_primary_background_fill": "*primary_600",
        "button_primary_background_fill_hover": "*primary_700",
        "button_primary_background_fill_dark": "*primary_400",
        "button_primary_background_fill_hover_dark": "*primary_300",
        "button_primary_text_color": "#fffdfa",
        "button_primary_text_color_dark": "*neutral_950",
        "button_primary_border_color": "transparent",
        "button_primary_border_color_dark": "transparent",
        "button_secondary_background_fill": "transparent",
        "button_secondary_background_fill_hover": "*neutral_100",
        "button_secondary_background_fill_dark": "transparent",
        "button_secondary_background_fill_hover_dark": "#332b25",
        "button_secondary_border_color": "*neutral_300",
        "button_secondary_border_color_dark": "#51463d",
        "button_secondary_text_color": "*neutral_800",
        "button_secondary_text_color_dark": "#e4d9cc",
        "button_medium_text_weight": "500",
        "button_small_text_weight": "500",
        "error_background_fill": "#fff1ec",
        "error_background_fill_dark": "#3a1f16",
        "error_text_color": "#8a2b12",
        "error_text_color_dark": "#ffb49b",
    }
