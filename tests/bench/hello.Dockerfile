# The baseline of `bench stack`: the same base, server and settings, and no service.
ARG BASE
FROM ${BASE}
ENV METRICS=false
COPY --chmod=644 hello.py /srv/hello.py
CMD ["gunicorn", "--config", "/srv/app/gunicorn.conf.py", "hello:app"]
