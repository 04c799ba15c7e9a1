"""Who wants to know how a request goes is told of its log, when that begins."""

from nitro.service.metrics import Metrics
from nitro.service.request_log import RequestLog
from nitro.service.requests import Principal


def begin(principal: Principal, metrics: Metrics) -> RequestLog:
    """The log of a request, which begins here."""
    log = RequestLog(principal.request_id, metrics)
    if principal.follow:
        principal.follow(log)
    return log
