{{- /*
The pod of a service: (list $ "PART" "IMAGE"). The part is stable or canary, of a Deployment, or service, of the Rollout. A pod of the
Rollout may become stable while it runs: it listens on the ports of both, and reads its track from a label of its own.
*/ -}}
{{- define "movierec.service.pod" -}}
{{- $part := index . 1 -}}
{{- $image := index . 2 -}}
{{- $tracks := ternary (list "stable" "canary") (list $part) (eq $part "service") -}}
{{- with index . 0 -}}
metadata:
  labels:
    {{- include "movierec.selector" (list . $part) | nindent 4 }}
    movierec/serves: "true"
spec:
  {{- include "movierec.pod" (list . 10001) | nindent 2 }}
  terminationGracePeriodSeconds: {{ add .Values.service.drainSeconds .Values.shipper.endSeconds 40 }}
  {{- if eq $part "stable" }}
  {{- include "movierec.spread" (list . $part .Values.stable.spread) | nindent 2 }}
  {{- else if eq $part "service" }}
  # The pods of one version on all nodes in equal numbers, one more or less. A node that is drained does not count.
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" (eq .Values.stable.spread "required") }}
      nodeTaintsPolicy: Honor
      labelSelector:
        matchLabels:
          {{- include "movierec.selector" (list . $part) | nindent 10 }}
      matchLabelKeys: [rollouts-pod-template-hash]
  {{- end }}
  initContainers:
    # A sidecar: it starts before the service, and ends after it, when the service's last answers are in the journals.
    # Only this container has a password of the database, of an account that may only add answers.
    - name: shipper
      image: {{ $image }}
      restartPolicy: Always
      command: [python, -m, app.shipper]
      env:
        - {name: JOURNAL_DIR, value: /var/lib/movierec/journals}
        - {name: MYSQL_HOST, value: {{ include "movierec.mysqlHost" . }}}
        - {name: MYSQL_DATABASE, value: {{ .Values.mysql.database }}}
        - {name: MYSQL_USER, value: movierec_service}
        - {name: MYSQL_PASSWORD_FILE, value: /run/secrets/movierec/service_password}
        - {name: HEARTBEAT_FILE, value: /tmp/heartbeat}
        - {name: SHIP_END_SECONDS, value: {{ .Values.shipper.endSeconds | quote }}}
        - {name: SHIPPER_METRICS_BIND, value: "0.0.0.0:9101"}
      ports: [{name: shipper, containerPort: 9101}]
      livenessProbe: # it read the journals, or moved a batch, within a minute
        exec: {command: [sh, -c, 'test -n "$(find /tmp/heartbeat -mmin -1)"']}
        initialDelaySeconds: 60
        periodSeconds: 30
        timeoutSeconds: 5
      {{- include "movierec.walls" (list . .Values.shipper.resources) | nindent 6 }}
      volumeMounts:
        - {name: shipper-tmp, mountPath: /tmp}
        - {name: journals, mountPath: /var/lib/movierec/journals}
        - {name: password, mountPath: /run/secrets/movierec, readOnly: true}
    {{- with include "movierec.fresh.sidecar" (list . $image) }}{{ . | nindent 4 }}{{ end }}
  containers:
    - name: service
      image: {{ $image }}
      env:
        - {name: SERVICE, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        {{- if eq $part "service" }}
        - {name: TRACK_FILE, value: /run/labels/track}
        {{- else }}
        - {name: TRACK, value: {{ ternary .Values.canary.track "stable" (eq $part "canary") }}}
        {{- end }}
        - name: BIND
          value: {{ range $number, $track := $tracks }}{{ if $number }},{{ end }}0.0.0.0:{{ include "movierec.port" $track }}{{ end }}
        - {name: JOURNAL_DIR, value: /var/lib/movierec/journals}
        - {name: JOURNAL_MAX_MB, value: {{ .Values.service.journalMaxMb | quote }}}
        - {name: WORKERS, value: {{ .Values.service.workers | quote }}}
        - {name: REQUEST_LOG, value: {{ .Values.service.requestLog | quote }}}
        {{- with include "movierec.fresh.env" (list .) }}{{ . | nindent 8 }}{{ end }}
      ports:
        {{- range $number, $track := $tracks }}
        - {name: http{{ if $number }}-{{ $track }}{{ end }}, containerPort: {{ include "movierec.port" $track }}}
        {{- end }}
        - {name: metrics, containerPort: 9100}
      startupProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 1, failureThreshold: 120}
      readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2, timeoutSeconds: 2}
      livenessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 10, timeoutSeconds: 5}
      lifecycle: {preStop: {sleep: {seconds: {{ .Values.service.drainSeconds }}}}}
      {{- include "movierec.walls" (list . .Values.service.resources) | nindent 6 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: run, mountPath: /run/movierec}
        {{- if eq $part "service" }}
        - {name: labels, mountPath: /run/labels, readOnly: true}
        {{- end }}
        - {name: journals, mountPath: /var/lib/movierec/journals}
        {{- with include "movierec.fresh.mount" (list .) }}{{ . | nindent 8 }}{{ end }}
  volumes:
    {{- with include "movierec.fresh.volumes" (list .) }}{{ . | nindent 4 }}{{ end }}
    {{- include "movierec.memory" (list "tmp" "16Mi") | nindent 4 }}
    {{- include "movierec.memory" (list "shipper-tmp" "16Mi") | nindent 4 }}
    {{- include "movierec.memory" (list "run" "64Mi") | nindent 4 }}
    {{- if eq $part "service" }}
    - name: labels
      downwardAPI: {items: [{path: track, fieldRef: {fieldPath: "metadata.labels['movierec/track']"}}]}
    {{- end }}
    - name: journals
      emptyDir: {sizeLimit: {{ add .Values.service.journalMaxMb 64 }}Mi}
    - name: password
      secret:
        secretName: {{ include "movierec.passwords" . }}
        defaultMode: 0440
        items: [{key: service_password, path: service_password}]
{{- end -}}
{{- end -}}
