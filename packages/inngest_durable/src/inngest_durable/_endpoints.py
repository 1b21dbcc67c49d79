"""The endpoints of one application, and how to find one: by its ID, or by the view that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._core.model import RecordedRequest
from ._core.retry import RetryPolicy
from .endpoint import Endpoint, EndpointOptions
from .errors import ConfigurationError, StepUsageError
from .exchange import EndpointAdapter, Lifecycle


class Endpoints:
    """
    The endpoints of one client.

    Args:
        client: The client.
        adapter: Its framework's adapter, or None.

    Attributes:
        make: Makes an endpoint; `otel.instrument` has them traced.
        app: The application whose routes lead to them, once it is known.
    """

    def __init__(self, client: Lifecycle, adapter: EndpointAdapter | None) -> None:
        self.make: Callable[[EndpointOptions, Lifecycle, EndpointAdapter], Endpoint] = Endpoint
        self.app: Any = None
        self._client = client
        self._adapter = adapter
        self._by_id: dict[str, Endpoint] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def adapter_for(self, what: str) -> EndpointAdapter:
        """Return the adapter, which *what* needs. Raises `ConfigurationError` if there is none."""
        if self._adapter is None:
            raise ConfigurationError(
                f"{what} needs an adapter: Inngest(app_id=…, endpoint_adapter=endpoint_adapter), imported from "
                "inngest_durable.quart or inngest_durable.flask"
            )
        return self._adapter

    def add(self, handler: Callable[..., Any], options: EndpointOptions) -> Callable[..., Any]:
        """
        Return the view that serves *handler* durably.

        Raises:
            ConfigurationError: There is no adapter, the ID is taken, or the handler does not fit the framework.
        """
        adapter = self.adapter_for("endpoint()")
        if options.id in self._by_id:
            raise ConfigurationError(
                f"there is already an endpoint {options.id!r}: runs find their endpoint by its ID, "
                'so give one of them another with @inngest.endpoint(id="…")'
            )
        endpoint = self.make(options, self._client, adapter)
        view = adapter.wrap(endpoint, handler)
        self._by_id[options.id] = endpoint
        return view

    def find(self, endpoint_id: str) -> Endpoint | None:
        """Return the endpoint with an ID, or None."""
        return self._by_id.get(endpoint_id)

    def policy_of(self, endpoint_id: str) -> RetryPolicy:
        """Return the retry policy of an endpoint, or the default one if no endpoint has that ID any more."""
        endpoint = self._by_id.get(endpoint_id)
        return endpoint.policy if endpoint is not None else RetryPolicy()

    def request_for(
        self, endpoint: Callable[..., Any] | str, params: Mapping[str, Any], body: Any, caller: RecordedRequest
    ) -> tuple[str, RecordedRequest, float | None]:
        """
        Return an endpoint's ID, a request to it, and the seconds its run may take. Called by `step.invoke`.

        Raises:
            StepUsageError: There is no such endpoint, or none of its routes takes these *params*.
        """
        adapter = self.adapter_for("step.invoke()")
        endpoint_id = endpoint if isinstance(endpoint, str) else adapter.endpoint_id(endpoint)
        found = self._by_id.get(endpoint_id or "")
        if found is None:
            known = ", ".join(sorted(self._by_id))
            raise StepUsageError(f"{endpoint!r} is not an endpoint of this client; its endpoints are: {known}")
        request = adapter.request_for(self.app, found.id, params, body, caller)
        return found.id, request, found.timeout_seconds
