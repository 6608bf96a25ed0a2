"""A short contest between anabranch and the engine below it, on the user's own machine or cluster: `anabranch bench`.

    contest   rounds within a time: ours, the peer; the peer, ours; ...      medians, spread, calibration
    ours      maps and submits in a flow, record on                          places   engines, started or joined
    peers     the same work by the raw engine                                plot     a picture of it
"""
