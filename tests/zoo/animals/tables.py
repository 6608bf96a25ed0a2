"""Arrays and tables of all kinds, lazy ones too."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import xarray as xr

from tests.zoo.animals.keeper import Keeper, kind, text


def _frames() -> pd.DataFrame:
    return pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])


def _category() -> pd.Series:
    return pd.Series(["u", "v", "u"], dtype="category")


def _zoned() -> pd.DataFrame:
    when = pd.date_range("2026-03-29", periods=3, freq="h", tz="Europe/Berlin")
    return pd.DataFrame({"t": when, "x": [1.0, math.nan, 3.0]})


def _readonly() -> np.ndarray:
    array = np.arange(4)
    array.flags.writeable = False
    return array


def _delayed() -> Any:
    import dask

    return dask.delayed(operator.add)(2, 3)


def _dask_array() -> Any:
    import dask.array

    return dask.array.ones((4, 4), chunks=2)


def _dask_frame() -> Any:
    import dask.dataframe

    return dask.dataframe.from_pandas(pd.DataFrame({"x": range(4)}), npartitions=2)


def _computed(one: Any) -> str:
    return f"{type(one).__name__} {one.sum().compute(scheduler='sync')}"


def _frame_text(one: Any) -> str:
    return f"{list(one.columns)} {one.dtypes.to_list()} {one.to_numpy().tolist()}"


def _values(one: Any) -> str:
    return f"{type(one).__name__} {one.dtype} {one.tolist()}"


ANIMALS: dict[str, Keeper] = {
    # lazy frames
    "dask delayed": Keeper(_delayed, lambda one: f"{kind(one)} {one.compute(scheduler='sync')}"),
    "dask array": Keeper(_dask_array, _computed),
    "dask frame": Keeper(_dask_frame, lambda one: f"{kind(one)} {one.x.sum().compute(scheduler='sync')}"),
    "polars frame": Keeper(lambda: pl.DataFrame({"x": [1, 2]}), lambda one: f"{kind(one)} {one.to_dicts()}"),
    "polars lazy": Keeper(lambda: pl.LazyFrame({"x": [1, 2]}), lambda one: f"{kind(one)} {one.collect().to_dicts()}"),
    "xarray": Keeper(
        lambda: xr.Dataset({"v": ("t", [1.0, 2.0])}, coords={"t": [0, 1]}), lambda one: str(one.to_dict()["data_vars"])
    ),
    # arrays and tables
    "array of objects": Keeper(lambda: np.array([None, "x", [1]], dtype=object), _values),
    "array of no dimension": Keeper(lambda: np.array(3), _values),
    "empty array": Keeper(lambda: np.empty((0, 3)), _values),
    "structured array": Keeper(lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), _values),
    "big-endian array": Keeper(lambda: np.arange(3, dtype=">i4"), _values),
    "fortran array": Keeper(lambda: np.asfortranarray(np.arange(6).reshape(2, 3)), _values),
    "strided array": Keeper(lambda: np.arange(10)[::3], _values),
    "masked array": Keeper(lambda: np.ma.masked_array([1, 2], mask=[False, True]), lambda one: f"{kind(one)} {one}"),
    "read-only array": Keeper(_readonly, _values),
    "numpy scalar": Keeper(lambda: np.float32(1.5), text),
    "not a time": Keeper(lambda: np.datetime64("NaT"), text),
    "frame with one name twice": Keeper(_frames, _frame_text),
    "categories": Keeper(_category, lambda one: f"{one.dtype} {one.tolist()}"),
    "time zones": Keeper(_zoned, lambda one: f"{one.dtypes.to_list()} {one.t.astype(str).to_list()}"),
    "arrow table": Keeper(lambda: pa.table({"x": [1, None]}), lambda one: f"{kind(one)} {one.to_pylist()}"),
}
