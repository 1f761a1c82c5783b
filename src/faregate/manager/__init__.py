"""The control plane's process: /metrics, /healthz, /readyz. No call passes here; its end stops no worker."""
