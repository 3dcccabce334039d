"""The search service: a REST API and the page on top of it. `create_app` makes the application, `serve` runs it."""
