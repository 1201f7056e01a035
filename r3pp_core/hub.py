"""What can go wrong between here and the Hub, for everyone who fetches from it."""


def hub_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises for a repository, a network or a proxy that does not give what was asked for."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    return (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError)
