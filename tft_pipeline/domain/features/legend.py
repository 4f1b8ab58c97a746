"""What the letters and short names in formulas stand for. A letter that a formula explains itself ("x = ...") is not here.

Not here: the formulas (each in its family's file), what groups are about (`groups`).
"""

LEGEND: dict[str, str] = {
    "t, t-k": "the bar itself, and k bars of the symbol before it; without an index a letter is of the bar itself",
    "O, H, L, C": "open, high, low and close of the bar",
    "P": "the close of the bar; P_-k is that of k bars before",
    "M": "the close of the market index (data.market_symbol)",
    "X": "the close of another market (data.cross_markets)",
    "r": "the one-bar log return, ln(P_t / P_t-1)",
    "r_M": "the one-bar log return of the market index",
    "dP, dM": "P_t - P_t-1, and the same of M",
    "ln": "the natural logarithm",
    "A": "data.bars_per_year",
    "N": "symbols with a value at the bar, where a formula speaks of symbols",
    "sigma60": "ewm_std(r, span 60), per bar; sigma60(M) and sigma60(X) of that market's returns",
    "meann, sumn, minn, maxn": "over the last n bars, the own bar included (mean21, max252 ...)",
    "stdn, sdn, varn, covn": "over the last n bars with divisor n - 1; population sdn has the divisor n",
    "m2, m3, m4": "mean second, third and fourth power of the distance to the mean",
    "Srr, Smm, Srm": "sums of squares and of products of r and r_M, each less its mean, over the pairs where both are known",
    "correlation, R^2": "Pearson's, and its square",
    "z-score over n": "(x - meann(x)) / stdn(x)",
    "ewm_mean(x, span s), EWM": "mean of all x so far, one k bars old with weight (1 - 2/(s+1))^k, from s values on; "
    "ewm(x, span s) too",
    "ewmk(x)": "the same with weights (1 - 1/k)^age (ewm8, ewm24 ... of the MACD)",
    "ewm_std(x, span s)": "standard deviation with the weights of ewm_mean, corrected for bias",
    "Wilder(x)": "mean of the first n values, then ((n-1) * the value before + x) / n",
    "TR": "true range, max(H, C_t-1) - min(L, C_t-1), unless the formula says otherwise",
    "DM+, DM-": "directional movement, as osc_plus_di_14 and osc_minus_di_14 say",
    "rank over symbols": "(rank - 1) / (n - 1) - 1/2 among the n symbols known at the bar; equals share their mean rank",
    "sign": "1, 0 or -1",
    "pi, e^x, exp": "the constant, and the exponential function",
    "Phi^-1": "quantile of the standard normal distribution",
    "1440, 60": "minutes of a day and of an hour",
    "data.timezone": "the key of the experiment; bars are stored in UTC",
    "intra, micro: p, o, h, l, v": "close, open, high, low, volume of a minute of the bar; p_1 and p_n the first and last p",
    "intra, micro: e": "minutes from the opening of the bar's first minute to the close of a minute; e_n is the last minute's",
    "intra, micro: r, m": "r_i = ln(p_i / p_i-1) between minutes of the bar, and how many there are; sums, means and "
    "shares are over these minutes",
    "intra, micro: O, H, L, C": "first open, highest high, lowest low, last close of the bar's minutes",
    "intra, micro: H30, L30": "highest high and lowest low of e <= 30",
    "intra, micro: s": "sign of r, or of the last r that was not 0 (tick rule)",
}
"""Symbol -> meaning, in the order they are listed."""
