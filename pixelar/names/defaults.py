"""The default arguments of the trainer of a run; needs no torch."""

__all__ = ["TRAINER_DEFAULTS"]


TRAINER_DEFAULTS = {
    "max_epochs": 1,  # one long epoch, counted in batches: see pixelar.training.samplers
    "max_steps": 10_000,
    "check_val_every_n_epoch": None,
    "val_check_interval": 1000,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 20,
    "enable_model_summary": False,
    "logger": False,
    "enable_checkpointing": False,
}
