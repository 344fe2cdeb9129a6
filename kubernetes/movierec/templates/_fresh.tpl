{{- /*
Freshness: a sidecar in each service pod follows the stream for the version in the pod's image. Only this container has what the broker
asks for. docs/kubernetes.md says why there is one in each pod. Each of these is empty where freshness is off.
*/ -}}

{{- /* The sidecar: (list $ "IMAGE"). It ends after the service and before the shipper. */ -}}
{{- define "movierec.fresh.sidecar" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.fresh -}}
{{- if .enabled -}}
{{- if not (get .settings "KAFKA_BOOTSTRAP_SERVERS") -}}
{{- fail "fresh.enabled needs the broker: set fresh.settings.KAFKA_BOOTSTRAP_SERVERS, such as broker.example:9092" -}}
{{- end -}}
- name: fresh
  image: {{ index $ 1 }}
  restartPolicy: Always
  command:
    - sh
    - -c
    - |
      test -e /tmp/began || touch /tmp/began
      test -e /srv/app/fresh/topic.py || { echo "this image is older than freshness: its answers are those of the version" >&2; trap "exit 0" TERM; while touch /tmp/heartbeat; do sleep 30 & wait $!; done; }
      exec python -m app.fresh
  env:
    - {name: FRESH_DIR, value: /var/lib/movierec/fresh}
    - {name: HEARTBEAT_FILE, value: /tmp/heartbeat}
    - {name: OPENBLAS_NUM_THREADS, value: "1"}
    - {name: KAFKA_SECRETS_DIR, value: /run/secrets/kafka}
    {{- range $name, $value := .settings }}
    - {name: {{ $name }}, value: {{ $value | quote }}}
    {{- end }}
  # The service starts when its answers are at most a minute behind, and after `waitSeconds` as it is. A version without a fresh part has
  # nothing to wait for.
  startupProbe:
    exec:
      command:
        - python
        - -IS
        - -c
        - |
          import glob, json, os, time
          if os.path.isdir("/srv/model/fresh") and os.path.exists("/srv/app/fresh/topic.py"):
              waited = time.time() - os.stat("/tmp/began").st_mtime
              found = [json.load(open(name))["as_of"] for name in glob.glob("/var/lib/movierec/fresh/*/status.json")]
              raise SystemExit(waited < {{ .waitSeconds }} and time.time() - max(found, default=0) > 60)
    periodSeconds: 5
    timeoutSeconds: 5
    failureThreshold: {{ add (div .waitSeconds 5) 60 }}
  livenessProbe: # it follows, or waits for its turn
    exec: {command: [sh, -c, 'test -n "$(find /tmp/heartbeat -mmin -2)"']}
    periodSeconds: 30
    timeoutSeconds: 5
  {{- include "movierec.walls" (list $root .resources) | nindent 2 }}
  volumeMounts:
    - {name: fresh-tmp, mountPath: /tmp}
    - {name: fresh, mountPath: /var/lib/movierec/fresh}
    - {name: kafka, mountPath: /run/secrets/kafka, readOnly: true}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* How long a pod may take to become ready: (list $). */ -}}
{{- define "movierec.fresh.deadline" -}}
{{- with (index . 0).Values.fresh -}}{{ add 600 (ternary (int .waitSeconds) 0 .enabled) }}{{- end -}}
{{- end -}}

{{- /* Settings of the service: (list $). */ -}}
{{- define "movierec.fresh.env" -}}
{{- if (index . 0).Values.fresh.enabled -}}
- {name: FRESH, value: "true"}
- {name: FRESH_DIR, value: /var/lib/movierec/fresh}
{{- end -}}
{{- end -}}

{{- define "movierec.fresh.mount" -}}
{{- if (index . 0).Values.fresh.enabled -}}
- {name: fresh, mountPath: /var/lib/movierec/fresh, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "movierec.fresh.volumes" -}}
{{- with (index . 0).Values.fresh -}}
{{- if .enabled -}}
{{- include "movierec.memory" (list "fresh-tmp" "16Mi") }}
- {name: fresh, emptyDir: {sizeLimit: 1Gi}}
{{- if .secret }}
- {name: kafka, secret: {secretName: {{ .secret }}, defaultMode: 0440}}
{{- else }}
- {name: kafka, emptyDir: {sizeLimit: 1Mi}}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The brokers' ports, separated by blanks: those of the first brokers, and those of others that they name. */ -}}
{{- define "movierec.fresh.ports" -}}
{{- with (index . 0).Values.fresh -}}
{{- if .enabled -}}
{{- $ports := list -}}
{{- range splitList "," (get .settings "KAFKA_BOOTSTRAP_SERVERS") -}}
{{- if not (regexMatch ":[0-9]{1,5}$" (trim .)) -}}
{{- fail (printf "fresh.settings.KAFKA_BOOTSTRAP_SERVERS: %s has no port: give HOST:PORT, such as broker.example:9092" (trim .)) -}}
{{- end -}}
{{- $ports = append $ports (splitList ":" (trim .) | last | int) -}}
{{- end -}}
{{- range .kafkaPorts }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- join " " ($ports | uniq) -}}
{{- end -}}
{{- end -}}
{{- end -}}
