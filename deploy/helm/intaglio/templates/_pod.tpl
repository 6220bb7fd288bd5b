{{/* The pod of a component that serves. Takes root, component, workers, resources. */}}
{{- define "intaglio.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "intaglio.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  annotations:
    # Other settings are other pods.
    checksum/settings: {{ include "intaglio.settings" (dict "root" $root "makers" $values.housekeeping.makers) | sha256sum }}
spec:
  serviceAccountName: {{ include "intaglio.name" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.ending.grace }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- if and $values.hsm.enabled (or $values.hsm.library.image $values.hsm.sidecar.image) }}
  initContainers:
    {{- with $values.hsm.library }}
    {{- if .image }}
    - name: library
      image: {{ .image | quote }}
      command:
        - cp
        - --dereference
        {{- range .files }}
        - {{ . | quote }}
        {{- end }}
        - /hsm/lib/
      securityContext:
        {{- include "intaglio.confined" $root | nindent 8 }}
      volumeMounts:
        - name: hsm-library
          mountPath: /hsm/lib
    {{- end }}
    {{- end }}
    {{- with $values.hsm.sidecar }}
    {{- if .image }}
    - name: hsm
      image: {{ .image | quote }}
      # It begins before the service and ends after it.
      restartPolicy: Always
      {{- with .command }}
      command:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      env:
        {{- range $name, $value := .environment }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
      securityContext:
        {{- include "intaglio.confined" $root | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - name: hsm-run
          mountPath: /hsm/run
        {{- with $values.hsm.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: intaglio
      image: {{ include "intaglio.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        - serve
        {{- if gt (int .workers) 1 }}
        - --workers
        - {{ .workers | quote }}
        {{- end }}
      env:
        - name: INTAGLIO_HOME
          value: /var/lib/intaglio/home
        - name: CREDENTIALS_DIRECTORY
          value: /run/credentials
        {{- if $values.hsm.enabled }}
        {{- range $name, $value := $values.hsm.environment }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- end }}
      ports:
        - name: api
          containerPort: 8443
        - name: public
          containerPort: 8080
        - name: health
          containerPort: 8081
        {{- if $values.front.peers }}
        - name: front
          containerPort: 8444
        {{- end }}
        {{- if $values.metrics.enabled }}
        - name: metrics
          containerPort: 9090
        {{- end }}
      startupProbe:
        httpGet:
          path: /healthz
          port: health
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet:
          path: /readyz
          port: health
        periodSeconds: 2
        timeoutSeconds: 4
        failureThreshold: 2
      # Of the process alone: a database that is away is no reason to restart.
      livenessProbe:
        httpGet:
          path: /healthz
          port: health
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      lifecycle:
        preStop:
          exec:
            command:
              - sleep
              - {{ $values.ending.linger | quote }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "intaglio.confined" $root | nindent 8 }}
      volumeMounts:
        - name: home
          mountPath: /var/lib/intaglio
        - name: settings
          mountPath: /var/lib/intaglio/home/intaglio.toml
          subPath: {{ .component }}.toml
          readOnly: true
        - name: secrets
          mountPath: /run/credentials
          readOnly: true
        - name: memory
          mountPath: /tmp
        {{- if not $values.hsm.enabled }}
        - name: epochs
          mountPath: /var/lib/intaglio-epochs
        {{- else }}
        - name: hsm-library
          mountPath: /hsm/lib
          readOnly: true
        - name: hsm-run
          mountPath: /hsm/run
        {{- with $values.hsm.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- if $values.front.peers }}
        - name: front
          mountPath: /run/front
          readOnly: true
        {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "intaglio.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ .component }}
  {{- with $values.api.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.api.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumes:
    - name: home
      persistentVolumeClaim:
        claimName: {{ $values.home.existingClaim }}
    - name: settings
      configMap:
        name: {{ include "intaglio.name" $root }}
    - name: secrets
      secret:
        secretName: {{ $values.secrets.existing }}
        defaultMode: 0440
    - name: memory
      emptyDir:
        medium: Memory
        sizeLimit: 64Mi
    {{- if not $values.hsm.enabled }}
    - name: epochs
      persistentVolumeClaim:
        claimName: {{ $values.epochs.existingClaim }}
    {{- else }}
    - name: hsm-library
      emptyDir: {}
    - name: hsm-run
      emptyDir:
        medium: Memory
        sizeLimit: 16Mi
    {{- with $values.hsm.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- if $values.front.peers }}
    - name: front
      secret:
        secretName: {{ required "front.certificate is the Secret with the front's certificate" $values.front.certificate }}
        # The front's key, if it is there, is none of the pod's.
        items:
          - key: front.crt
            path: front.crt
    {{- end }}
{{- end }}

{{- define "intaglio.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}
