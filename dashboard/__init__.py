"""The Dash app, its pages and figures, and the export."""
