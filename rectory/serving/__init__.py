"""The champion, live: app, engine, model slot, live learning, rules, event log. The only importer of fastapi."""
