"""Names of Prefect that programs import and anabranch does not have, with what to use in their place.

Modules that are not there at all are in `tables.py`. A name here is found in its module as a placeholder, which raises
at its first use: a program that imports it, and does not use it, runs.
"""

from __future__ import annotations

import functools

_API = "runs are in anabranch's record, see `anabranch runs`; deployments in its service, see `anabranch deployments`"
_AUTOMATIONS = "use hooks (`on_failure=`, `on_completion=`) or state handlers; events are recorded, and start nothing"
_INSIDE = "a part of Prefect's inside, which programs do without"
_ARTIFACTS = "call `create_markdown_artifact` and the like"
_ELSEWHERE = "give the flow's place as `entrypoint=` and storage of a deployment, see docs/deployments.md"
_STORES = "values go where `result_storage=` says: LocalFileSystem, or any object with `read_path` and `write_path`"
_LOOPS = "use asyncio: `asyncio.gather`, `asyncio.to_thread`, `asyncio.run`"
_PROFILES = "settings are environment variables and anabranch's own files, see docs/options.md; there are no profiles"
_TYPES = "annotate with pydantic's own types: `pydantic.PositiveInt`, `pydantic.conint(ge=0)`"
_TESTING = "use `prefect_test_harness`, and pytest's own means"
_SCHEDULES = "give `interval=`, `cron=` or `rrule=`; a cron or an RRule says the days and hours"
_DASK = "call `distributed.get_client()` in a task that runs on Dask"

LACKING: dict[str, dict[str, str]] = {
    "prefect.artifacts": {
        _ARTIFACTS: "Artifact ImageArtifact LinkArtifact MarkdownArtifact ProgressArtifact TableArtifact"
    },
    "prefect.client": {"use `anabranch.Secret('NAME')`, the environment variable NAME": "Secret"},
    "prefect.client.schemas.actions": {
        _API: """
            ArtifactCreate ArtifactUpdate BlockDocumentCreate BlockDocumentReferenceCreate BlockDocumentUpdate
            BlockSchemaCreate BlockTypeCreate BlockTypeUpdate ConcurrencyLimitCreate ConcurrencyLimitV2Create
            ConcurrencyLimitV2Update DeploymentBranch DeploymentCreate DeploymentFlowRunCreate
            DeploymentScheduleUpdate DeploymentUpdate FlowCreate FlowRunCreate FlowRunUpdate FlowUpdate
            GlobalConcurrencyLimitCreate GlobalConcurrencyLimitUpdate LogCreate SavedSearchCreate StateCreate
            TaskRunCreate TaskRunUpdate VariableCreate VariableUpdate WorkPoolCreate WorkPoolUpdate WorkQueueCreate
            WorkQueueUpdate"""
    },
    "prefect.client.schemas.objects": {
        "give `concurrency_limit=` and `collision_strategy=` to a deployment": """
            ConcurrencyLimitConfig ConcurrencyLimitStrategy ConcurrencyOptions""",
        _API: """
            Agent Artifact ArtifactCollection BlockDocument BlockDocumentReference BlockSchema BlockSchemaReference
            BlockType BranchingScheduleHandling ConcurrencyLeaseHolder ConcurrencyLimit Configuration Constant
            CsrfToken data_discriminator DEFAULT_AGENT_WORK_POOL_NAME DEFAULT_BLOCK_SCHEMA_VERSION Deployment
            DeploymentBranchingOptions DeploymentSchedule DeploymentStatus Flow FlowRunInput FlowRunPolicy
            FlowRunResult GlobalConcurrencyLimit Integration IPAllowlist IPAllowlistEntry IPAllowlistMyAccessResponse
            Log Parameter QueueFilter RunInput RunType SavedSearch SavedSearchFilter ServerDefaultResultStorage
            ServerDefaultResultStorageUpdate TaskRunPolicy TaskRunResult Variable VersionInfo Worker WorkerMetadata
            WorkerStatus WorkPool WorkPoolStatus WorkPoolStorageConfiguration WorkQueue WorkQueueHealthPolicy
            WorkQueueStatus WorkQueueStatusDetail Workspace""",
    },
    "prefect.client.schemas.schedules": {
        _SCHEDULES: """
            construct_schedule DEFAULT_ANCHOR_DATE is_schedule_type is_valid_timezone MAX_ITERATIONS MAX_RRULE_LENGTH
            NoSchedule"""
    },
    "prefect.context": {
        "a function that runs on a worker finds its context there: do not carry it by hand": """
            hydrated_context serialize_context with_context""",
        _INSIDE: """
            AssetContext AsyncClientContext ContextModel GLOBAL_SETTINGS_CONTEXT refresh_global_settings_context
            root_settings_context SyncClientContext GLOBAL_OBJECT_REGISTRY initialize_object_registry
            PrefectObjectRegistry registry_from_script""",
        _PROFILES: "use_profile",
    },
    "prefect.deployments.deployments": {
        "`anabranch deploy FILE.yaml` reads the file": "load_deployments_from_yaml",
        _ELSEWHERE: "load_flow_from_flow_run",
    },
    "prefect.deployments": {
        "write a prefect.yaml, or call `flow.deploy`": "initialize_project",
        "give `image='registry/name:tag', build=False`": "DeploymentImage",
        _ELSEWHERE: "EntrypointType load_flow_from_flow_run",
        "`anabranch deploy FILE.yaml` reads the file": "load_deployments_from_yaml",
    },
    "prefect.engine": {"call `flow.run()`": "FlowRunner TaskRunner"},
    "prefect.engine.results": {
        "give LocalResult(dir=...), or write the value in the task": """
            AzureResult ConstantResult GCSResult S3Result SecretResult"""
    },
    "prefect.engine.signals": {_INSIDE: "ENDRUN signal_from_state"},
    "prefect.engine.state": {"no run enters it here": "Cancelling ClientFailed Looped Paused Queued Resume Submitted"},
    "prefect.events": {
        _AUTOMATIONS: """
            Action ActionTypes Automation AutomationCore CallWebhook CancelFlowRun ChangeFlowRunState CompositeTrigger
            CompoundTrigger DeclareIncident DeleteFlowRun DeploymentCompoundTrigger DeploymentEventTrigger
            DeploymentMetricTrigger DeploymentSequenceTrigger DeploymentTriggerTypes DoNothing EventTrigger
            FlowRunSubscriber get_events_client get_events_subscriber MetricTrigger MetricTriggerOperator
            MetricTriggerQuery PauseAutomation PauseDeployment PauseWorkPool PauseWorkQueue Posture ReceivedEvent
            ResourceSpecification ResourceTrigger ResumeAutomation ResumeDeployment ResumeWorkPool ResumeWorkQueue
            RunDeployment SendNotification SequenceTrigger SuspendFlowRun Trigger TriggerTypes"""
    },
    "prefect.exceptions": {
        "nothing here raises it: catch `PrefectException`": """
            BlockMissingCapabilities EventTooLarge FlowRunWatchError InfrastructureNotAvailable InfrastructureNotFound
            InvalidRepositoryURLError ObjectLimitReached ObjectUnsupported PrefectHTTPStatusError
            ProfileSettingsValidationError ProtectedBlockError"""
    },
    "prefect.filesystems": {
        _STORES: """
            Azure GCS GitHub ReadableDeploymentStorage ReadableFileSystem RemoteFileSystem S3 SMB
            WritableDeploymentStorage"""
    },
    "prefect.flows": {
        _ELSEWHERE: """
            bind_flow_to_infrastructure InfrastructureBoundFlow load_flow_from_flow_run load_placeholder_flow""",
        "name the flow: `load_flow_from_entrypoint('FILE:FLOW')`": """
            load_flow_from_script load_flow_from_text load_flows_from_script select_flow""",
        _INSIDE: "FlowDecorator FlowStateHook",
    },
    "prefect.futures": {_INSIDE: "call_repr resolve_futures_to_data"},
    "prefect.logging": {"add a handler to the logger `anabranch`": "LogEavesdropper"},
    "prefect.logging.loggers": {
        "add a handler to the logger `anabranch`": "LogEavesdropper",
        "give `log_prints=True` to the task or flow": "patch_print print_as_log",
        _INSIDE: "get_worker_logger",
    },
    "prefect": {"flows are read from their files": "Manifest"},
    "prefect.main": {_API: "get_cloud_client"},
    "prefect.results": {
        _INSIDE: """
            default_cache DEFAULT_STORAGE_KEY_FN get_default_persist_setting get_default_persist_setting_for_tasks
            get_or_create_default_task_scheduling_storage LITERAL_TYPES result_storage_discriminator"""
    },
    "prefect.runner": {"call `prefect.serve(...)`, or `anabranch agent start`": "Runner"},
    "prefect.runner.storage": {
        "give the url, or GitRepository, RemoteStorage, LocalStorage": """
            BlockStorageAdapter create_storage_from_source GitCredentials RunnerStorage"""
    },
    "prefect.schedules.clocks": {_SCHEDULES: "Clock ClockEvent DatesClock RRuleClock"},
    "prefect.schedules": {_SCHEDULES: "RRuleSchedule"},
    "prefect.serializers": {_INSIDE: "UnknownSerializer"},
    "prefect.settings": {
        _PROFILES: """
            canonical_environment_prefix DEFAULT_PROFILES_PATH load_current_profile load_profile load_profiles Profile
            ProfilesCollection save_profiles Settings update_current_profile"""
    },
    "prefect.states": {_INSIDE: "is_state RESULT_READ_MAXIMUM_ATTEMPTS RESULT_READ_RETRY_DELAY to_state_create"},
    "prefect.task_runners": {
        "subclass TaskRunner, or give a runner of anabranch": "BaseTaskRunner CONCURRENCY_MESSAGES TaskConcurrencyType"
    },
    "prefect.tasks": {
        "assets are not recorded: create an artifact": "MaterializingTask",
        _INSIDE: "NUM_CHARS_DYNAMIC_KEY TaskOptions TaskRunNameCallbackWithParameters",
    },
    "prefect.testing.utilities": {
        _TESTING: """
            a_test_step assert_blocks_equal assert_uses_result_serializer assert_uses_result_storage b_test_step
            get_most_recent_flow_run kubernetes_environments_equal"""
    },
    "prefect.types": {
        _TYPES: """
            BANNED_CHARACTERS ClientRetryExtraCodes JsonStringOrDict KeyValueLabelsField ListOfNonEmptyStrings
            LogLevel MAX_VARIABLE_NAME_LENGTH MAX_VARIABLE_VALUE_LENGTH Name NameOrEmpty NonEmptyishName
            NonNegativeFloat NonNegativeInteger NonNegativeTimeDelta PositiveInteger SecondsTimeDelta SecretDict
            StatusCode StrictVariableValue TaskRetryDelaySeconds URILike ValidAssetKey WITHOUT_BANNED_CHARACTERS"""
    },
    "prefect.utilities.asyncutils": {
        _LOOPS: """
            add_event_loop_shutdown_callback asyncnullcontext BACKGROUND_TASKS call_with_mark create_gather_task_group
            create_task EVENT_LOOP_GC_REFS gather GatherIncomplete GatherTaskGroup get_thread_limiter
            in_async_main_thread in_async_worker_thread LazySemaphore mark_as_worker_thread
            run_async_from_worker_thread run_async_in_new_loop run_sync_in_worker_thread RUNNING_ASYNC_FLAG
            RUNNING_IN_RUN_SYNC_LOOP_FLAG sync"""
    },
    "prefect.utilities.callables": {_INSIDE: "create_v1_schema expand_mapping_parameters process_v1_params"},
    "prefect.utilities.edges": {_INSIDE: "EdgeAnnotation"},
    "prefect.utilities.importtools": {
        _INSIDE: "AliasedModuleDefinition AliasedModuleFinder AliasedModuleLoader DelayedImportErrorModule lazy_import"
    },
    "prefect.utilities.logging": {
        "add a handler to the logger `anabranch`": """
            CloudHandler configure_extra_loggers configure_logging create_diagnostic_logger getlogsize LOG_MANAGER
            LOG_OVERHEAD LogManager MAX_BATCH_LOG_SIZE MAX_LOG_SIZE PREFECT_LOG_RECORD_ATTRIBUTES RedirectToLog
            temporary_logger_config"""
    },
    "prefect.utilities.notifications": {
        "post in the handler with a library of your own": """
            gmail_notifier jira_notifier slack_message_formatter slack_notifier snowflake_logger
            snowflake_message_formatter"""
    },
    "prefect.utilities.tasks": {
        "give the arguments to the task": "as_task defaults_from_attrs",
        "end the flow, and go on with `anabranch resume`": "pause_task",
    },
    "prefect.orion.schemas.states": {"`from prefect.client.schemas.objects import StateDetails`": "StateDetails"},
    "prefect.storage": {
        "give Git, S3, GCS, Module, Local or Docker, or the url to a deployment": "Azure Bitbucket CodeCommit Webhook"
    },
    "prefect.tasks.control_flow": {"use `case`, or filter in a task": "FilterTask"},
    "prefect_dask": {_DASK: "get_async_dask_client get_dask_client PrefectDaskClient PrefectDaskFuture"},
}


@functools.cache
def lacking(module: str) -> dict[str, str]:
    """Return, by name, what to use in place of what a module of Prefect has and ours has not."""
    return {name: advice for advice, names in LACKING.get(module, {}).items() for name in names.split()}
