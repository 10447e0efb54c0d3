"""The training methods, one a module.

A method's module defines `Params`, the class of its parameters (`models.job.Training` or a class below it), and a function with the module's
own name, `(job, emit, stopping) -> statistics | None`: it trains what the job describes, writes into `job.out`, and returns None where it was
stopped, with a checkpoint. It raises `ValueError` where a parameter does not fit the data or the machine.

A stage names its method by the module's name, `models.methods.sft`, and nothing else imports one, so that a change to a method concerns the
stages that train by it alone.
"""
