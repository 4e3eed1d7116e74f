"""Which cases of the losses over class weights there are."""

GRADIENTS = ("exact", "detached")
BOUNDARIES = ("line", "clip", "none")


def arcface(scale=64.0, margin=0.5, boundary="line", easy_margin=False, gradient="exact"):
    return {"scale": scale, "margin": margin, "boundary": boundary, "easy_margin": easy_margin,
            "gradient": gradient}


def subcenter(subcenters=3, boundary="line", gradient="exact", scale=64.0, margin=0.5):
    return {"scale": scale, "margin": margin, "boundary": boundary, "subcenters": subcenters,
            "gradient": gradient}


def sphereface(margin=4, base=1000.0, gamma=0.12, power=1.0, least=5.0):
    return {"margin": margin, "lambda_base": base, "lambda_gamma": gamma, "lambda_power": power,
            "lambda_min": least}


def adaface(scale=64.0, margin=0.4, h=0.333, t_alpha=0.01):
    return {"scale": scale, "margin": margin, "h": h, "t_alpha": t_alpha}


def cosface(scale=64.0, margin=0.35):
    return {"scale": scale, "margin": margin}


def combined(m1=1.0, m2=0.3, m3=0.2, gradient="exact", scale=64.0):
    return {"scale": scale, "m1": m1, "m2": m2, "m3": m3, "gradient": gradient}


def multiplicative(margin=1.35, gradient="exact", scale=64.0):
    return {"scale": scale, "margin": margin, "gradient": gradient}


def plain():
    """(input, kind, config) of the losses without state."""
    for source in ("random", "one_class", "repeated"):
        for smoothing in (0.0, 0.1):
            yield source, "cross_entropy", {"label_smoothing": smoothing}
    for scale in (20.0, 64.0):
        for source in ("random", "swept"):
            yield source, "norm_softmax", {"scale": scale}
    for scale in (64.0, 30.0):
        for margin in (0.5, 0.35):
            for source in ("random", "swept"):
                yield source, "arcface", arcface(scale, margin)
        for margin in (0.35, 0.4):
            yield "random", "cosface", cosface(scale, margin)
        yield "swept", "cosface", cosface(scale, 0.35)
    yield "random", "arcface", arcface(margin=0.0)
    for boundary, easy_margin in (("none", False), ("clip", False), ("line", True)):
        for gradient in GRADIENTS:
            config = arcface(64.0, 0.5, boundary, easy_margin, gradient)
            for source in ("random", "swept", "kinks"):
                yield source, "arcface", config
            yield "swept", "arcface", {**config, "scale": 30.0}
    for source, scale in (("random", 64.0), ("swept", 64.0), ("swept", 30.0)):
        yield source, "arcface", arcface(scale, gradient="detached")
    yield "kinks", "arcface", arcface()
    for source in ("random", "swept", "kinks"):
        for gradient in GRADIENTS:
            yield source, "combined", combined(gradient=gradient)
            yield source, "combined", combined(0.9, 0.4, 0.15, gradient)
            yield source, "multiplicative", multiplicative(gradient=gradient)
        for margin in (1.7, 3.0):
            yield source, "sphereface_r", {"scale": 30.0, "margin": margin}
    yield "random", "combined", combined(1.2, 0.0, 0.0, scale=30.0)
    yield "swept", "combined", combined(1.0, 0.0, 0.4)  # cosface
    for boundary in BOUNDARIES:
        for gradient in GRADIENTS:
            yield "subcenters", "subcenter_arcface", subcenter(3, boundary, gradient)
    for gradient in GRADIENTS:
        yield "subcenters", "subcenter_arcface", subcenter(2, gradient=gradient, scale=30.0)
    yield "subcenters", "subcenter_arcface", subcenter(1)  # arcface
    for source in ("one_class", "repeated", "tiny", "huge"):
        yield source, "norm_softmax", {"scale": 20.0}
        yield source, "sphereface_r", {"scale": 30.0, "margin": 1.7}
        yield source, "multiplicative", multiplicative()
        yield source, "cosface", cosface()
        yield source, "arcface", arcface()
        yield source, "combined", combined()
        yield source, "subcenter_arcface", subcenter(1)


def with_state():
    """(input, kind, config, state, train)"""
    for margin in (1, 2, 3, 4):
        for iteration in (0, 10, 1658, 5000):
            yield "random", "sphereface", sphereface(margin), {"iteration": iteration}, True
        for source in ("swept", "kinks"):
            yield source, "sphereface", sphereface(margin), {"iteration": 5000}, True
    other = sphereface(4, 1500.0, 0.1, 2.0, 3.0)
    for iteration in (0, 200, 210):
        yield "random", "sphereface", other, {"iteration": iteration}, True
    for source in ("one_class", "repeated"):
        yield source, "sphereface", sphereface(), {"iteration": 5000}, True

    for source, values in (("random", (0.0, 0.3, -0.2)), ("swept", (0.0, 0.3, -0.2)),
                           ("kinks", (0.3,)), ("one_class", (0.3,)), ("repeated", (0.3,)),
                           ("tiny", (0.3,)), ("huge", (0.3,))):
        for t in values:
            yield source, "curricularface", cosface(margin=0.5), {"t": t}, True
    yield "random", "curricularface", cosface(30.0, 0.4), {"t": 0.3}, True
    yield "random", "curricularface", cosface(margin=0.5), {"t": 0.3}, False

    start, settled = {"mean": 20.0, "std": 100.0}, {"mean": 9.0, "std": 4.0}
    for source in ("random", "swept", "kinks", "norms", "single", "one_class", "repeated",
                   "tiny", "huge"):
        yield source, "adaface", adaface(), start, True
    for source in ("random", "norms", "single"):
        yield source, "adaface", adaface(), settled, True
        yield source, "adaface", adaface(), settled, False
    yield "random", "adaface", adaface(30.0, 0.5, 0.5, 0.3), settled, True
    yield "random", "adaface", adaface(h=0.0), settled, True  # fixed margin


def aligned():
    """Cosines of exactly +-1: autograd through acos is infinite, so there is no gradient to match.
    adaface clips the cosine first, so its gradient is defined."""
    for gradient in GRADIENTS:
        for boundary in BOUNDARIES:
            yield "arcface", arcface(boundary=boundary, gradient=gradient), {}
        yield "arcface", arcface(easy_margin=True, gradient=gradient), {}
    yield "cosface", cosface(), {}
    yield "norm_softmax", {"scale": 20.0}, {}
    yield "sphereface_r", {"scale": 30.0, "margin": 1.7}, {}
    yield "subcenter_arcface", subcenter(1), {}
    for gradient in GRADIENTS:
        yield "multiplicative", multiplicative(gradient=gradient), {}
        yield "combined", combined(gradient=gradient), {}
    yield "sphereface", sphereface(), {"iteration": 5000}
    yield "curricularface", cosface(margin=0.5), {"t": 0.3}
    yield "adaface", adaface(), {"mean": 20.0, "std": 100.0}


def cases():
    for source, kind, config in plain():
        yield {"input": source, "kind": kind, "config": config}
    for source, kind, config, state, train in with_state():
        yield {"input": source, "kind": kind, "config": config, "state": state, "train": train}
    for kind, config, state in aligned():
        case = {"input": "aligned", "kind": kind, "config": config}
        if kind != "adaface":
            case["reference"] = "finite"
        yield case | ({"state": state} if state else {})
