from .checkpoints import assert_safe_checkpoint as assert_safe_checkpoint
from .draws import GlobalDraws as GlobalDraws
from .fake_data import write_fake_data as write_fake_data
from .memory import peak_bytes as peak_bytes
from .ranks import assert_same_gradients_ddp as assert_same_gradients_ddp
from .recipes import fit_recipe as fit_recipe
from .resume import assert_exact_resume as assert_exact_resume
