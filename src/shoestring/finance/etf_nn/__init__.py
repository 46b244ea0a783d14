"""ETF-NN: ETF portfolios from a network trained on the statements of stocks (2022)."""

from shoestring.finance.etf_nn._generator import MarketConfig, SyntheticMarket, synthetic_market
from shoestring.finance.etf_nn._models import StatementComposite, StatementNet, StatementRegressor
from shoestring.finance.etf_nn._null import NullTest, sign_flip_test
from shoestring.finance.etf_nn._portfolio import ETFPortfolio, basket_returns
from shoestring.finance.etf_nn._strategy import EtfNnStrategy
from shoestring.finance.etf_nn._walk import EtfBacktest, backtest, etf_features, walk_forward
from shoestring.finance.etf_nn.config import NetworkConfig, TrainingConfig

__all__ = [
    "ETFPortfolio",
    "EtfBacktest",
    "EtfNnStrategy",
    "MarketConfig",
    "NetworkConfig",
    "NullTest",
    "StatementComposite",
    "StatementNet",
    "StatementRegressor",
    "SyntheticMarket",
    "TrainingConfig",
    "backtest",
    "basket_returns",
    "etf_features",
    "sign_flip_test",
    "synthetic_market",
    "walk_forward",
]
