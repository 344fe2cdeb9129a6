"""Mail and Slack behind one small interface: a run's notices, as plain text that is read on a phone.

A notice that cannot be sent never fails a run: `deliver` returns what went wrong.
"""

from auto_deployment.notify.channel import Channel, NotifyError
from auto_deployment.notify.delivery import deliver
from auto_deployment.notify.mail import MailChannel
from auto_deployment.notify.notice import Notice
from auto_deployment.notify.opening import open_channels
from auto_deployment.notify.runs import failed, lag_alarm, nothing_new, published, refused
from auto_deployment.notify.slack import SlackChannel
from auto_deployment.notify.smtp import MailServer

__all__ = [
    "Channel",
    "MailChannel",
    "MailServer",
    "Notice",
    "NotifyError",
    "SlackChannel",
    "deliver",
    "failed",
    "lag_alarm",
    "nothing_new",
    "open_channels",
    "published",
    "refused",
]
