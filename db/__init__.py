"""The store: tables, engine, migrations, the point codec. Imports nothing else of trackside."""
