"""The blocks of the implementation guide, as they are printed in it.

``docs/phase3-guide.md`` says what runs here for each; ``test_phase3_integration.py`` runs them.
"""

from __future__ import annotations

import re
import textwrap

INSTALL = """\
# Install Phase 3 requirements
pip install -r requirements-phase3.txt

# Optional: DataDog support
pip install -r requirements-phase3.txt[datadog]
"""

STEP_2_CONFIG = """\
# Basic setup
ENABLE_GRAPHQL_API = True
ENABLE_PLUGIN_SYSTEM = True
ENABLE_ADVANCED_DASHBOARD = True

# Performance
ENABLE_QUERY_OPTIMIZATION = True
QUERY_CACHE_ENABLED = True

# Monitoring
ENABLE_ADVANCED_METRICS = True
"""

STEP_3_STARTUP = """\
from bot.core.enhanced_startup_phase3 import initialize_phase3_services

# Initialize Phase 3
phase3_status = await initialize_phase3_services()
print("Phase 3 Status:", phase3_status)

# Add GraphQL endpoint to FastAPI app
from bot.core.graphql_api import schema
from starlette_graphene import graphene_app

app.mount("/graphql", graphene_app(schema))

# Add dashboard routes
from bot.core.advanced_dashboard import router as dashboard_router
app.include_router(dashboard_router)
"""

STEP_4_TESTS = """\
# Run Phase 3 tests
python run_tests.py tests/test_phase3_integration.py

# Or with pytest directly
pytest tests/test_phase3_integration.py -v
"""

PLUGIN_TEMPLATE = '''\
# plugins/my_custom_plugin.py

from bot.core.plugin_manager import BasePlugin, PluginMetadata

class MyCustomPlugin(BasePlugin):
    """My custom plugin description"""
    
    async def initialize(self):
        """Initialize plugin
        
        Called when plugin is loaded
        """
        print(f"Initializing {self.metadata.name}")
        # Setup resources
        return True
    
    async def shutdown(self):
        """Cleanup resources
        
        Called when plugin is unloaded
        """
        print(f"Shutting down {self.metadata.name}")
    
    async def execute(self, *args, **kwargs):
        """Execute plugin functionality
        
        Args:
            *args: Positional arguments
            **kwargs: Keyword arguments
            
        Returns:
            Plugin result
        """
        # Perform plugin work
        return {"status": "success"}
'''  # noqa: W293 - as it is printed

PLUGIN_TYPES = """\
# Backup Plugin
from bot.core.plugin_manager import BackupPlugin

class CustomBackupPlugin(BackupPlugin):
    async def execute(self, source_path: str, backup_name: str):
        # Custom backup logic
        return True

# Alert Plugin
from bot.core.plugin_manager import AlertPlugin

class CustomAlertPlugin(AlertPlugin):
    async def execute(self, alert_data: Dict):
        # Custom alert logic
        return True

# Monitor Plugin
from bot.core.plugin_manager import MonitorPlugin

class CustomMonitorPlugin(MonitorPlugin):
    async def execute(self, metrics: Dict):
        # Custom monitoring logic
        return metrics
"""

PLUGIN_CONFIGURATION = """\
# In your plugin's initialize()
config = {
    "api_key": "your_api_key",
    "endpoint": "https://api.example.com",
    "batch_size": 100,
}

self.set_config(config)
"""

REDIS_CONFIG = """\
# Cache GraphQL query results in Redis
QUERY_CACHE_BACKEND = "redis"
CACHE_KEY_PREFIX = "mltb_graphql_"
QUERY_CACHE_TTL = 300
"""

CELERY = """\
# Trigger plugins from Celery tasks
@celery_app.task
def run_plugin_task(plugin_name, data):
    result = await plugin_manager.execute_plugin(plugin_name, **data)
    return result
"""

PROMETHEUS = """\
# Export metrics through dashboard
GET /api/v3/profiler/slow-operations
# Returns operations > threshold
"""

COMPOSE = """\
services:
  app:
    environment:
      ENABLE_GRAPHQL_API: "true"
      ENABLE_PLUGIN_SYSTEM: "true"
      ENABLE_ADVANCED_DASHBOARD: "true"
      PLUGINS_DIR: "/app/plugins"
    volumes:
      - ./plugins:/app/plugins
    ports:
      - "8000:8000"  # FastAPI
"""

KUBERNETES = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: mltb-phase3-config
data:
  ENABLE_GRAPHQL_API: "true"
  ENABLE_PLUGIN_SYSTEM: "true"
  PLUGINS_DIR: "/mnt/plugins"
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: plugins-pvc
spec:
  persistentVolumeReclaimPolicy: Retain
  accessModes:
    - ReadWriteMany
  resources:
    requests:
      storage: 1Gi
"""

GRAPHQL_SECURITY = """\
# Disable introspection in production
GRAPHQL_INTROSPECTION = False  # Production only

# Enable rate limiting
GRAPHQL_SECURITY = {
    "rate_limit_queries": True,
    "max_queries_per_minute": 100,
    "block_deeply_nested_queries": True,
}

# Require authentication if exposed
GRAPHQL_SECURITY["require_authentication"] = True
"""

PLUGIN_SECURITY = """\
# Enable plugin sandboxing
PLUGIN_SANDBOX = True

# Restrict imports
PLUGIN_ALLOWED_IMPORTS = [
    "asyncio",
    "json",
    "datetime",
]

# Verify plugin signatures
PLUGIN_SECURITY["verify_checksum"] = True

# Resource limits
PLUGIN_MEMORY_LIMIT = 256  # MB
PLUGIN_TIMEOUT = 300       # seconds
"""

DASHBOARD_SECURITY = """\
# Require HTTPS in production
DASHBOARD_SECURITY["require_https"] = True

# Enable rate limiting
DASHBOARD_SECURITY["rate_limit"] = True
DASHBOARD_SECURITY["max_requests_per_second"] = 10

# Optional authentication
DASHBOARD_AUTH = True
"""

UNIT_TESTS = """\
pytest tests/test_phase3_integration.py::TestGraphQLAPI -v
pytest tests/test_phase3_integration.py::TestPluginSystem -v
pytest tests/test_phase3_integration.py::TestAdvancedDashboard -v
"""

INTEGRATION_TESTS = """\
pytest tests/test_phase3_integration.py::TestPhase3Integration -v
"""

PERFORMANCE_TESTS = """\
# Test GraphQL performance
pytest tests/test_phase3_integration.py -v --benchmark
"""

LOAD_TESTS = """\
# Test dashboard under load
python tests/load_tests/phase3_load_test.py
"""

TUNED_QUERIES = """\
# Profile slow queries
GET /api/v3/profiler/slow-operations?threshold=1.0&limit=10

# Enable caching for frequently used queries
QUERY_CACHE_ENABLED = True
QUERY_CACHE_TTL = 300
"""

TUNED_PLUGINS = """\
# Limit concurrent plugin executions
PLUGIN_THRESHOLDS["max_concurrent"] = 5

# Set memory limit
PLUGIN_MEMORY_LIMIT = 256  # MB

# Increase timeout for slow plugins
PLUGIN_TIMEOUT = 600  # seconds
"""

TUNED_DASHBOARD = """\
# Reduce metrics update frequency
DASHBOARD_REFRESH = 10  # seconds

# Limit historical data points
DASHBOARD_THRESHOLDS["max_historical_points"] = 500

# Enable compression
DASHBOARD_THRESHOLDS["data_compression"] = True
"""

#: The lines of the checklists, by what they are about.
CHECKLISTS = {
    "GraphQL API": [
        "Install dependencies",
        "Set `ENABLE_GRAPHQL_API = True`",
        "Mount GraphQL endpoint",
        "Test with `POST /graphql`",
        "Access introspection at `GET /graphql?query={__schema{...}}`",
        "Enable/disable introspection based on environment",
        "Configure rate limiting (100 queries/min)",
    ],
    "Plugin System": [
        "Set `ENABLE_PLUGIN_SYSTEM = True`",
        "Create `plugins/` directory",
        "Create sample plugin",
        "Set `AUTO_LOAD_PLUGINS = True`",
        "Test plugin loading",
        "Register custom plugin types",
        "Configure plugin security settings",
    ],
    "Advanced Dashboard": [
        "Set `ENABLE_ADVANCED_DASHBOARD = True`",
        "Set `ENABLE_LIVE_METRICS = True`",
        "Mount dashboard routes",
        "Access at `/api/v3/dashboard`",
        "Test WebSocket connection",
        "Configure update interval",
        "Enable/disable metrics",
    ],
    "Performance Optimization": [
        "Set `ENABLE_QUERY_OPTIMIZATION = True`",
        "Set `QUERY_CACHE_ENABLED = True`",
        "Configure cache TTL",
        "Monitor cache hit rate",
        "Profile slow queries",
        "Enable hot query indexing",
    ],
    "Monitoring Integration": [
        "Set `ENABLE_ADVANCED_METRICS = True`",
        "Configure external metrics endpoint (optional)",
        "Set up DataDog/Prometheus export (optional)",
        "Configure batch settings",
        "Monitor metric collection",
    ],
    "Deployment": [
        "Dependencies installed (`pip install -r requirements-phase3.txt`)",
        "Configuration updated (all ENABLE flags set)",
        "Tests passing (`pytest tests/test_phase3_integration.py`)",
        "Startup code updated (initialize_phase3_services called)",
        "GraphQL endpoint mounted",
        "Dashboard routes included",
        "Plugins directory created",
        "Sample plugin created and tested",
        "Security configurations reviewed",
        "Cache backend configured",
        "Rate limiting configured",
        "Monitoring setup complete",
        "Documentation reviewed by team",
        "Load testing completed",
        "Production deployment plan ready",
    ],
}


def _typed() -> dict[str, str]:
    """The plugins of the block about types, a file for each."""
    parts = re.split(r"^(?=# \w+ Plugin$)", PLUGIN_TYPES, flags=re.MULTILINE)
    kinds = [part for part in parts if part.strip()]
    names = "custom_backup_plugin", "custom_alert_plugin", "custom_monitor_plugin"
    return dict(zip(names, kinds, strict=True))


def _configured() -> str:
    """A plugin with the block about configuration in its ``initialize``, where it belongs."""
    return (
        "from bot.core.plugin_manager import BasePlugin\n\nclass Configured(BasePlugin):\n"
        "    async def initialize(self):\n"
        f"{textwrap.indent(PLUGIN_CONFIGURATION, ' ' * 8)}\n"
        "    async def execute(self):\n        return self.get_config()\n"
    )


#: The plugins of the block about types, by the names of their files.
TYPED = _typed()
#: Every plugin of the guide.
PLUGINS = {"my_custom_plugin": PLUGIN_TEMPLATE, **TYPED, "configured": _configured()}

#: The files that it names.
FILES = [
    "bot/core/graphql_api.py",
    "bot/core/plugin_manager.py",
    "bot/core/advanced_dashboard.py",
    "bot/core/enhanced_startup_phase3.py",
    "config_enhancements_phase3.py",
    "requirements-phase3.txt",
    "tests/test_phase3_integration.py",
    "PHASE_3_FEATURES.md",
    "PLUGINS.md",
    "PHASE_1_COMPLETE.md",
    "PHASE_2_FEATURES.md",
]
OF_OTHER_PHASES = {"PHASE_1_COMPLETE.md", "PHASE_2_FEATURES.md"}
