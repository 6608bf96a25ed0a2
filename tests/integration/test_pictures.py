"""Pictures that are drawn here, as a real browser reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.states import COMPLETED, FAILED
from anabranch.display import strips

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.timeout(180), pytest.mark.sampled(3, "a browser starts")]

READ = """
async src => {
    const image = new Image();
    image.src = src;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    return [image.width, image.height, ...[8, 15, 24].map(x => [...context.getImageData(x, 20, 1, 1).data])];
}
"""


def test_a_browser_reads_a_strip(page: Page) -> None:
    png = strips.strip(strips.kinds_of(bytes([COMPLETED, FAILED, COMPLETED])))
    width, height, first, gap, second = page.evaluate(READ, strips.data_uri(png))
    done, broken = strips.KINDS[strips.DONE], strips.KINDS[strips.BROKEN]
    assert (width, height) == (3 * strips.WIDEST, strips.HEIGHT)
    assert first == [*done.color, 255]
    assert gap[3] == 0
    assert second in ([*broken.color, 255], [*broken.over, 255])
