"""The root of every exception that this project raises on purpose; it imports nothing, so every package may import it.

    ArcticError                       base of all exceptions of this project
      UserError                       you can fix it: the message names the place, the field, the value and the remedy
        RecipeError                   a recipe or a lock is wrong
        GenerationError               a request to a model cannot be answered
        ConfigError                   the numbers of a model or of its training cannot work together
        OptionError                   an option or an argument is wrong
        ExportError                   a format cannot express a model, or its tokenizer cannot be read
        ExtensionError                a class of yours, named as "package.module:Class", cannot be used
          ExtensionFieldError         a field of it is wrong
        ScorerError, RuleError        a scorer or filter rule of yours returns something else than it declares
        InputError                    an input of a corpus cannot be read as declared
        SelectionError                --until or --only fits no stage
        NotInStoreError               the store does not hold the requested item
        StoreError                    the store cannot be used
          DamageError                 a committed file has other bytes than were committed
          ObjectError                 an object cannot be read or written in object storage
            DamagedObjectError        its bytes have another digest than it is named by
          LeaseLostError, HeldError   another run builds the stage, or writes the event log
        PruneError                    runs that a prune is to forget do not exist, or are running
        ArchiveError                  an archive of a run cannot be written or taken
        AddressError                  an address of objects is malformed
        ServerError                   a model's server cannot be used
          RequestRefusedError         it refuses one request, such as one that is too long
        ConversationError             a document of a fine-tune is no conversation
        ConfigJsonError               a config.json describes no model of this family
        ClusterError                  a Ray cluster cannot be used
        CapacityError                 the cluster cannot hold a stage
        EarlyError                    a stage has finished without the part that another one reads while it works
        UploadError                   a working folder is too large to send with a job
        PackageError                  a package is missing or has the wrong version
        SurroundingsError             the account or the machine lacks something
        TrackingError                 MLflow cannot be served
        SourceError                   the inputs give no usable corpus
        AnnotateError                 a model's answers are unusable, or a budget is spent
        FilterError                   the rules drop every document
        TokenizeError                 a vocabulary or a sequence length cannot work
        DedupInputError               documents that were given to `deduplicate` are not as it needs them
        DedupError                    a guard against over-merging stopped deduplication
        DataError                     evaluation data is missing or damaged
      QueueFullError                  a server has more requests than it takes
      EngineError                     the decoding engine of a server failed
      TrainingError                   training diverged
      StoppedError                    a stage stopped at a commit, for a limit of the run
      InterruptedTrainingError        training stopped after a step, with a checkpoint
      ValidationError                 an engine computes something else from an export than the model
      CheckpointError                 a checkpoint cannot be read or written
      OutOfMemoryError                a worker ran out of memory
      WorkerLostError                 a worker stopped answering
      MemberLostError                 a process of a group died more often than the group is started again
      StoppedWaitingError             nobody waits for the result of a group
      SandboxUnavailableError         this machine cannot isolate a program
      PreflightError                  the sandbox let an attack through
      HttpError, StoreReadError       bytes cannot be fetched
      ChangedError                    an input changed after the run was planned
      AnswerError                     a model's answer does not fit its schema; it is asked again
      BrokenFileError, ...            one input file or document cannot be read; it is set aside, and the run goes on

Example:
    >>> from arctic_errors import ArcticError, UserError
    >>> try:
    ...     raise UserError("train.peak_lr = -1: must be positive. Change the value.")
    ... except ArcticError as error:
    ...     print(error)
    train.peak_lr = -1: must be positive. Change the value.
"""


class ArcticError(Exception):
    """Root of every exception that this project raises on purpose."""


class UserError(ArcticError):
    """An error that you can fix; the message names the place, the field, the value and the remedy.

    The command line prints the message without a traceback and exits with code 2.
    """
