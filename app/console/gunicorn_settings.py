"""Gunicorn's settings of the console: one process, because few people look, and threads, because pages wait for sources."""

bind = "0.0.0.0:8083"
wsgi_app = "app.console.wsgi:main()"
workers = 1
worker_class = "gthread"
threads = 4
timeout = 30
graceful_timeout = 5
keepalive = 5
control_socket_disable = True
proc_name = "movierec console"
accesslog = None
errorlog = "-"
