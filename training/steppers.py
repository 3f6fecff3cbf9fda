"""One step of gradient descent on whichever backend Keras runs: TensorFlow, JAX or PyTorch.

A stepper owns the weights while they move, the state of AdamW (Loshchilov, Hutter 2019), and a running
average of the weights. Heads may learn at a lower rate than the trunk: all pooled features are positive, so
the weights of a head move a logit together. Gradients are clipped to a global norm of 1.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np

from cxr_pacs.inference.efficientnet import EfficientNetLite0
from cxr_pacs.inference.network import build_network, read_weights, write_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference.architecture import AnyArchitecture

    Arrays = Mapping[str, NDArray[Any]]
    Tensors = Mapping[str, Any]

__all__ = ["CLIP", "KEEP", "FastBatchNormalization", "Setting", "Stepper", "stepper"]

CLIP = 1.0
KEEP = 0.995


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a stepper moves, and towards what.

    Attributes
    ----------
    architecture : Architecture or EfficientNetLite0
    mean, deviation : tuple of 3 float
        Of the input's channels.
    objective : callable
        From the network's outputs, the targets and each head's kernel to the loss, in `keras.ops`.
    moves : callable
        Whether a layer of this name moves; the batch statistics of others stand still.
    weight_decay : float
        Of kernels; biases and normalisations have none.
    head_share : float
        Rate of the heads, as a share of the trunk's.
    """

    architecture: AnyArchitecture
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    objective: Callable[[Tensors, Tensors, Tensors], Any]
    moves: Callable[[str], bool]
    weight_decay: float
    head_share: float


class Stepper(Protocol):
    """Takes steps; its state can be carried to another process."""

    def step(self, images: NDArray[np.float32], targets: Arrays, rate: float) -> float:
        """One batch at learning rate `rate`; gives the loss."""
        ...

    def settle(self, batches: Iterable[NDArray[np.float32]]) -> None:
        """Become the average, with batch statistics taken anew over `batches`."""
        ...

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Copy the weights out, under ``layer/weight``."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything but the weights themselves."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go on from `state`."""
        ...


def stepper(setting: Setting, weights: Arrays | None) -> Stepper:
    """Make the stepper of the backend that Keras runs, at `weights` or at random ones."""
    if weights is None:
        weights = read_weights(build_network(setting.architecture, setting.mean, setting.deviation))
    backend = keras.backend.backend()
    if backend == "torch":
        lite = isinstance(setting.architecture, EfficientNetLite0)
        module, name = ("torch_lite", "TorchLiteStepper") if lite else ("torch_stepper", "TorchStepper")
        made: Stepper = getattr(importlib.import_module(f"training.{module}"), name)(setting, weights)
        return made
    return (_JaxStepper if backend == "jax" else _TensorFlowStepper)(setting, weights)


class FastBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # untyped
    """Batch normalisation by TensorFlow's fused kernel when training: a third faster, same weights."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: FBT001
        """Normalise by the batch when training, by the moving statistics else."""
        if not (training and self.trainable) or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

        outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


class _KerasStepper:
    """What TensorFlow and JAX share: the Keras network and Keras' own optimisers, one for each rate."""

    def __init__(self, setting: Setting, weights: Arrays) -> None:
        self.setting = setting
        keras.config.set_dtype_policy("mixed_bfloat16")
        self.network = build_network(
            setting.architecture, setting.mean, setting.deviation, normalisation=FastBatchNormalization
        )
        keras.config.set_dtype_policy("float32")
        write_weights(self.network, weights)
        for layer in self.network.layers:
            layer.trainable = setting.moves(layer.name)
        heads = {head for head, _ in setting.architecture.heads}
        variables = self.network.trainable_variables
        shares = [setting.head_share if v.path.split("/")[-2] in heads else 1.0 for v in variables]
        self.groups = []
        for share in sorted(set(shares)):
            indices = [i for i, own in enumerate(shares) if own == share]
            optimizer = keras.optimizers.AdamW(
                1.0, weight_decay=setting.weight_decay, use_ema=True, ema_momentum=KEEP
            )
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            optimizer.build([variables[i] for i in indices])
            self.groups.append((share, indices, optimizer))

    def loss(self, outputs: Tensors, targets: Tensors, trained: Sequence[Any]) -> Any:
        """Apply the objective; a head's kernel is among the trained variables or else in the network."""
        kernels = {}
        for head, _ in self.setting.architecture.heads:
            kernel = self.network.get_layer(head).kernel
            places = [i for i, v in enumerate(self.network.trainable_variables) if v is kernel]
            kernels[head] = trained[places[0]] if places else kernel
        return self.setting.objective(outputs, targets, kernels)

    def settle(self, batches: Iterable[NDArray[np.float32]]) -> None:
        variables = self.network.trainable_variables
        for _, indices, optimizer in self.groups:
            optimizer.finalize_variable_values([variables[i] for i in indices])
        norms = [layer for layer in self.network.layers if isinstance(layer, FastBatchNormalization)]
        kept = norms[0].momentum
        for seen, images in enumerate(batches):
            for layer in norms:
                layer.momentum = seen / (seen + 1)
            self.network(keras.ops.convert_to_tensor(images), training=True)
        for layer in norms:
            layer.momentum = kept

    def weights(self) -> dict[str, NDArray[np.float32]]:
        return read_weights(self.network)

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            f"{number}/{index}": np.asarray(variable)
            for number, (_, _, optimizer) in enumerate(self.groups)
            for index, variable in enumerate(optimizer.variables)
        }

    def restore(self, state: Arrays) -> None:
        for number, (_, _, optimizer) in enumerate(self.groups):
            for index, variable in enumerate(optimizer.variables):
                variable.assign(state[f"{number}/{index}"])

    def set_rate(self, rate: float) -> None:
        for share, _, optimizer in self.groups:
            optimizer.learning_rate.assign(rate * share)


class _TensorFlowStepper(_KerasStepper):
    def __init__(self, setting: Setting, weights: Arrays) -> None:
        super().__init__(setting, weights)
        self._tf = importlib.import_module("tensorflow")
        # One fused pass over all weights: as separate kernels it takes as long as the gradient itself.
        self._apply = self._tf.function(self._update, jit_compile=True)
        self._gradient = self._tf.function(self._differentiate, reduce_retracing=True)

    def step(self, images: NDArray[np.float32], targets: Arrays, rate: float) -> float:
        self.set_rate(rate)
        tensors = {name: self._tf.constant(target) for name, target in targets.items()}
        gradients, loss = self._gradient(self._tf.constant(images), tensors)
        self._apply(gradients)
        return float(loss)

    def _differentiate(self, images: Any, targets: Tensors) -> tuple[list[Any], Any]:
        variables = self.network.trainable_variables
        with self._tf.GradientTape() as tape:
            loss = self.loss(self.network(images, training=True), targets, variables)
        # An objective may leave heads out: their gradient is then nought, as in JAX.
        gradients = [
            self._tf.zeros(v.shape) if gradient is None else gradient
            for v, gradient in zip(variables, tape.gradient(loss, variables), strict=True)
        ]
        return self._tf.clip_by_global_norm(gradients, CLIP)[0], loss

    def _update(self, gradients: Sequence[Any]) -> None:
        for _, indices, optimizer in self.groups:
            optimizer.apply([gradients[i] for i in indices])


class _JaxStepper(_KerasStepper):
    def __init__(self, setting: Setting, weights: Arrays) -> None:
        super().__init__(setting, weights)
        jax = importlib.import_module("jax")
        self._differentiate = jax.value_and_grad(self._measure, has_aux=True)
        self._compiled = jax.jit(self._advance)

    def _measure(self, trained: Any, other: Any, images: Any, targets: Any) -> tuple[Any, Any]:
        outputs, other = self.network.stateless_call(trained, other, images, training=True)
        return self.loss(outputs, targets, trained), other

    def _advance(self, trained: Any, other: Any, kept: Any, images: Any, targets: Any) -> Any:
        (loss, other), gradients = self._differentiate(trained, other, images, targets)
        norm = keras.ops.sqrt(sum(keras.ops.sum(g * g) for g in gradients))
        gradients = [g * keras.ops.minimum(1.0, CLIP / (norm + 1e-9)) for g in gradients]
        moved, states = list(trained), []
        for (_, indices, optimizer), before in zip(self.groups, kept, strict=True):
            some, after = optimizer.stateless_apply(
                before, [gradients[i] for i in indices], [trained[i] for i in indices]
            )
            states.append(after)
            for index, value in zip(indices, some, strict=True):
                moved[index] = value
        return loss, moved, other, states

    def step(self, images: NDArray[np.float32], targets: Arrays, rate: float) -> float:
        self.set_rate(rate)
        places = [
            self.network.trainable_variables,
            self.network.non_trainable_variables,
            *(optimizer.variables for _, _, optimizer in self.groups),
        ]
        trained, other, *kept = [[variable.value for variable in some] for some in places]
        loss, moved, other, states = self._compiled(trained, other, kept, images, dict(targets))
        for some, values in zip(places, (moved, other, *states), strict=True):
            for variable, value in zip(some, values, strict=True):
                variable.assign(value)
        return float(loss)
