"""What watches over the service: logs, metrics, profiler, alerts, backups, integrity."""
