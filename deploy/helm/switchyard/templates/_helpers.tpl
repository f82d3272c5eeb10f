{{/* What every object is called: the release's name. */}}
{{- define "switchyard.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "switchyard.selector" -}}
app.kubernetes.io/name: switchyard
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "switchyard.labels" -}}
{{ include "switchyard.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "switchyard.trainerLabels" -}}
app.kubernetes.io/name: switchyard-trainer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* config.json: the values, and what TLS, tokens and the exposed admin port add. */}}
{{- define "switchyard.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.admin.expose -}}
{{- if not (and .Values.tls.secret .Values.tokens.secret) -}}
{{- fail "admin.expose wants tls.secret and tokens.secret: whoever reaches the admin port changes what everybody is answered with" -}}
{{- end -}}
{{- $_ := set $config "admin" (printf "0.0.0.0:%s" (include "switchyard.port" .Values.config.admin)) -}}
{{- end -}}
{{- if .Values.tls.secret -}}
{{- $_ := set $config "tls_certificate" "/etc/switchyard/tls/tls.crt" -}}
{{- $_ := set $config "tls_key" "/etc/switchyard/tls/tls.key" -}}
{{- if .Values.tls.clientCa -}}
{{- $_ := set $config "tls_client_ca" "/etc/switchyard/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if .Values.tokens.secret -}}
{{- $_ := set $config "tokens" "/etc/switchyard/tokens/tokens.json" -}}
{{- end -}}
{{- $config | mustToPrettyJson -}}
{{- end }}

{{/* The port of HOST:PORT. */}}
{{- define "switchyard.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end }}

{{- define "switchyard.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "switchyard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "switchyard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "switchyard.trainerArgs" -}}
{{- if not .Values.trainer.args -}}
{{- fail "trainer.args: what to train, such as [expert, --base=/models/base, …]" -}}
{{- end -}}
{{- toYaml .Values.trainer.args -}}
{{- end }}

{{/* What a training process mounts. */}}
{{- define "switchyard.trainerMounts" -}}
- name: models
  mountPath: /models
  readOnly: true
- name: artifacts
  mountPath: /artifacts
- name: tmp
  mountPath: /tmp
- name: metrics
  mountPath: /metrics
{{- end }}

{{/* Where Prometheus finds the exporter. */}}
{{- define "switchyard.trainerAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9100"
{{- end }}

{{/* A sidecar: it starts before the trainer and ends after it. Serves the file of --prometheus-textfile on /metrics. */}}
{{- define "switchyard.trainerExporter" -}}
- name: exporter
  image: {{ include "switchyard.image" (dict "image" .Values.trainer.exporter.image "root" .) }}
  restartPolicy: Always
  args:
    - --collector.disable-defaults
    - --collector.textfile
    - --collector.textfile.directory=/metrics
    - --web.listen-address=:9100
  ports:
    - name: metrics
      containerPort: 9100
  resources:
    requests:
      cpu: 10m
      memory: 32Mi
    limits:
      memory: 64Mi
  securityContext:
    {{- include "switchyard.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - name: metrics
      mountPath: /metrics
      readOnly: true
{{- end }}

{{- define "switchyard.trainerVolumes" -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ .Values.volumes.models.claim }}
    readOnly: true
- name: artifacts
  persistentVolumeClaim:
    claimName: {{ .Values.volumes.artifacts.claim }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
- name: metrics
  emptyDir:
    sizeLimit: 16Mi
{{- end }}
