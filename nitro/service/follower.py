"""Who wants to know how a request goes is told of its log, when that begins."""

from nitro.service.live.requests import Requests
from nitro.service.metrics import Metrics
from nitro.service.request_log import RequestLog
from nitro.service.requests import Principal


def begin(principal: Principal, metrics: Metrics, requests: Requests) -> RequestLog:
    """The log of a request, which begins here. `requests`: those of the server."""
    log = RequestLog(principal.request_id, metrics, requests, principal.route, principal.left)
    log.use = principal.use
    if principal.follow:
        principal.follow(log)
    return log
