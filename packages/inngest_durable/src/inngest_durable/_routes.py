"""The routes of an endpoint, as Werkzeug has them: how `step.invoke` finds one that takes what it is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException

from ._core.invoke_flow import child_request
from ._core.model import RecordedRequest
from .errors import StepUsageError

# The endpoint's ID, on the view that serves it.
IS_ENDPOINT = "__inngest_endpoint__"
_METHODS = ("POST", "PUT", "PATCH", "DELETE", "GET")
_HINT = (
    "in a path, each must be a value that its route matches: not None, not a list, not empty, and without a slash "
    "unless the route has <path:…>"
)


def request_for(
    app: Any, endpoint_id: str, params: Mapping[str, Any], body: Any, caller: RecordedRequest
) -> RecordedRequest:
    """Return a request to the route of an endpoint; see `_werkzeug.WerkzeugAdapter.request_for`."""
    rules = [
        rule
        for name, view in app.view_functions.items()
        if _serves(view, endpoint_id)
        for rule in app.url_map.iter_rules(name)
    ]
    for rule in rules:
        if (built := _built(rule, params)) is None:
            continue
        domain, (path, _, query) = built[0], built[1].partition("?")
        method = _method(rule.methods, body)
        if _leads_back(app, endpoint_id, params, domain, path, method):
            return child_request(caller, method, path, query, body, _host(app, domain))
    given = ", ".join(params) or "none"
    routes = ", ".join(rule.rule for rule in rules)
    routes = f"its routes: {routes} ({_HINT})" if rules else "its routes: none: is it mounted?"
    raise StepUsageError(f"no route of endpoint {endpoint_id!r} takes these params ({given}); {routes}")


def _built(rule: Any, params: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the domain, and the path and query, of *rule* with these *params*, or None if they do not fit."""
    if not rule.arguments - set(rule.defaults or ()) <= set(params):
        return None
    try:
        built = rule.build(dict(params), append_unknown=True)
    except (ValueError, TypeError):
        # As a string where the route has a number.
        return None
    return None if built is None else (str(built[0]), str(built[1]))


def _leads_back(app: Any, endpoint_id: str, params: Mapping[str, Any], domain: str, path: str, method: str) -> bool:
    """Whether a request to *path* reaches the endpoint, with these *params*: what was built need not be matched."""
    if app.url_map.host_matching:
        urls = app.url_map.bind(domain)
    else:
        urls = app.url_map.bind("", subdomain=domain if app.subdomain_matching else None)
    try:
        rule, found = urls.match(unquote(path), method, return_rule=True)
    except HTTPException:
        return False
    if not _serves(app.view_functions.get(rule.endpoint), endpoint_id):
        return False
    # Numbers and the like are texts in a path. Of None and collections, a text would be no more than their repr.
    return all(_is_same(value, params[name]) for name, value in found.items() if name in params)


def _is_same(found: Any, given: Any) -> bool:
    has_text = isinstance(given, str) or not (given is None or isinstance(given, Collection))
    return found == given or (has_text and str(found) == str(given))


def _host(app: Any, domain: str) -> str | None:
    """Return the host of a rule that has this *domain*; None if rules are the same at all hosts."""
    if app.url_map.host_matching:
        return domain or None
    name = app.config["SERVER_NAME"]
    return f"{domain}.{name}".lstrip(".") if app.subdomain_matching and name else None


def _serves(view: Any, endpoint_id: str) -> bool:
    view_class = getattr(view, "view_class", None)
    views = [view] if view_class is None else [view, *(getattr(view_class, name.lower(), None) for name in _METHODS)]
    return any(getattr(view, IS_ENDPOINT, None) == endpoint_id for view in views)


def _method(methods: Collection[str] | None, body: Any) -> str:
    wanted = _METHODS if body is not None else ("GET", *_METHODS)
    return next((method for method in wanted if methods is None or method in methods), "POST")
