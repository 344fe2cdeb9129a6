{{- /* The labels of an object of a part: (list $ "PART"). Pods have those of the selector only: a new chart alone restarts no pod. */ -}}
{{- define "movierec.labels" -}}
{{- $root := index . 0 -}}
{{ include "movierec.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{- define "movierec.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: movierec
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* Metadata of an object of a part: (list $ "PART"). */ -}}
{{- define "movierec.metadata" -}}
{{- $root := index . 0 -}}
name: {{ $root.Release.Name }}-{{ index . 1 }}
labels:
  {{- include "movierec.labels" . | nindent 2 }}
{{- end }}

{{- /* The full name of a part's Service: NGINX knows no search domains. */ -}}
{{- define "movierec.host" -}}
{{- $root := index . 0 -}}
{{ $root.Release.Name }}-{{ index . 1 }}.{{ $root.Release.Namespace }}.svc.{{ $root.Values.clusterDomain }}
{{- end }}

{{- define "movierec.mysqlHost" -}}
{{ .Values.mysql.externalHost | default (include "movierec.host" (list . "mysql")) }}
{{- end }}

{{- define "movierec.passwords" -}}
{{ .Values.mysql.passwordsSecret | default (printf "%s-passwords" .Release.Name) }}
{{- end }}

{{- /*
What every pod of ours has: one user, and no login to the cluster's API: (list $ USER). With a third item, the part's own account, the
pod has a login.
*/ -}}
{{- define "movierec.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ $root.Release.Name }}{{ if eq (len .) 3 }}-{{ index . 2 }}{{ end }}
automountServiceAccountToken: {{ eq (len .) 3 }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Our image, as in the values. */ -}}
{{- define "movierec.ownImage" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{- /*
Our image: (list $ "set" or "stable"). What somebody set in the Rollout after the last upgrade stays, unless this upgrade brings another
image itself. That image may still bake, or be an aborted one: parts of which there is one pod have the stable one.
*/ -}}
{{- define "movierec.image" -}}
{{- $root := index . 0 -}}
{{- $stable := eq (index . 1) "stable" -}}
{{- $image := include "movierec.ownImage" $root -}}
{{- if $root.Values.rollout.enabled -}}
{{- $name := printf "%s-service" $root.Release.Name -}}
{{- with lookup "argoproj.io/v1alpha1" "Rollout" $root.Release.Namespace $name -}}
{{- if eq $image (get (.metadata.annotations | default dict) "movierec/image") -}}
{{- $of := . -}}
{{- if and $stable (.status | default dict).stableRS -}}
{{- $of = lookup "apps/v1" "ReplicaSet" $root.Release.Namespace (printf "%s-%s" $name .status.stableRS) | default . -}}
{{- end -}}
{{- $image = (first $of.spec.template.spec.containers).image -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $image -}}
{{- end }}

{{- /*
The settings of the verdict. If the canary's pods have less load than stable ones, their caches are colder: the same code took 1.21
times as long. So the limit of slowdown is 1.5 then.
*/ -}}
{{- define "movierec.verdictSettings" -}}
{{- $less := lt (int .Values.stable.replicas) (mul 4 (include "movierec.canaryPods" .) | int) -}}
{{- merge (dict) .Values.verdict.settings (ternary (dict "CANARY_MAX_SLOWDOWN" "1.5") (dict) $less) | toJson -}}
{{- end }}

{{- /* The walls of a container: (list $ RESOURCES). */ -}}
{{- define "movierec.walls" -}}
{{- $root := index . 0 -}}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml (index . 1) | nindent 2 }}
{{- end }}

{{- /*
Pods of a part on different nodes: (list $ "PART" "required" or "preferred"). Only pods of one version keep apart, so that an
upgrade may start a new pod next to an old one.
*/ -}}
{{- define "movierec.spread" -}}
{{- $root := index . 0 -}}
affinity:
  podAntiAffinity:
    {{- if eq (index . 2) "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "movierec.selector" . | nindent 12 }}
        matchLabelKeys: [pod-template-hash]
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "movierec.selector" . | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
    {{- end }}
{{- end }}

{{- /* A file of the project, which the packaging copies into the chart: (list $ "PATH"). */ -}}
{{- define "movierec.file" -}}
{{- $root := index . 0 -}}
{{- $content := $root.Files.Get (printf "files/%s" (index . 1)) -}}
{{- if not $content -}}
{{- fail (printf "the chart has no file %s: install the chart that scripts/dev chart makes" (index . 1)) -}}
{{- end -}}
{{- $content -}}
{{- end }}

{{- /* Where a part's service listens: the port tells mtail the track of a try, because addresses of pods change. */ -}}
{{- define "movierec.port" -}}
{{ ternary 5001 5000 (eq . "canary") }}
{{- end }}

{{- /*
The canary's pods: of a Rollout so many that a pod of either track gets nearly the same load, with a fifth of the first tries for all of
them together.
*/ -}}
{{- define "movierec.canaryPods" -}}
{{ if .Values.rollout.enabled }}{{ max 1 (round (divf .Values.stable.replicas 4) 0 | int) }}{{ else }}{{ .Values.canary.replicas }}{{ end }}
{{- end }}

{{- /* A memory volume: (list "NAME" "SIZE"). */ -}}
{{- define "movierec.memory" -}}
- name: {{ index . 0 }}
  emptyDir: {medium: Memory, sizeLimit: {{ index . 1 }}}
{{- end }}
