"""The guide's network: stacked LSTM layers and a head at every bar. Not here: the head (`heads`), the loss.

    values (W, T, V) -> LSTM layers (W, T, H) -> head at every bar

Axes: W windows, T bars, V variables, H hidden. It has no attention and no variable selection: of its section it reads hidden,
lstm_layers and dropout.
"""

from torch import Tensor, nn

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.batch import Interpretation, WindowBatch
from tft_pipeline.model.heads import Forecast, LossMode, build_head


class LstmNetwork(nn.Module):
    """Network for `n_variables` real inputs; with lstm_layers 2 and loss_mode bce the guide's sigmoid(fc(lstm(x)[:, -1])).

    A bar that is not observed enters as zeros, as in the tft; the recurrence runs over it.
    """

    def __init__(self, n_variables: int, section: NetworkSection, loss_mode: LossMode) -> None:
        super().__init__()
        layers, hidden = section.lstm_layers, section.hidden
        between = section.dropout if layers > 1 else 0.0  # torch warns of a dropout that has no layer behind it
        self.lstm = nn.LSTM(n_variables, hidden, num_layers=layers, dropout=between, batch_first=True)
        self.head = build_head(hidden, loss_mode)

    def forecast(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W, T)."""
        found: Forecast = self.head(self._recurrent(windows))
        return found

    def forecast_last(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W): the last bar's output of `forecast`; the head runs once a window."""
        found: Forecast = self.head(self._recurrent(windows)[:, -1])
        return found

    def interpret(self, windows: WindowBatch) -> Interpretation:
        """Nothing: there are no weights to read."""
        return Interpretation(weights=None, attention=None)

    def _recurrent(self, windows: WindowBatch) -> Tensor:
        """values (W, T, V) -> (W, T, H), from zero states."""
        recurrent, _ = self.lstm(windows.values * windows.observed.unsqueeze(-1))
        out: Tensor = recurrent
        return out
