import numpy as np

from rushlight.loops.builder import *
from rushlight.primitives.contraction import contract


def _merge(dims):
    """dims: list of tuples (size, stride...) outermost first; neighbours without gaps in every array become one"""
    out = []
    for d in dims:
        if d[0] == 1:
            continue
        if out and all(o == s * d[0] for o, s in zip(out[-1][1:], d[1:])):
            out[-1] = (out[-1][0] * d[0], *d[1:])
        else:
            out.append(d)
    return out or [(1,) + (0,) * (len(dims[0]) - 1 if dims else 1)]


def lower(plan, sinks, operands, *, axes_a, axes_b, batch_a=(), batch_b=()):
    a, b = operands
    sink = sinks[0]
    kind = a.kind
    if kind not in (F32, F64):
        return False
    fa = [i for i in range(a.ndim) if i not in axes_a and i not in batch_a]
    fb = [i for i in range(b.ndim) if i not in axes_b and i not in batch_b]
    nb, na = len(batch_a), len(fa)
    outdims_a = list(range(nb, nb + na))
    outdims_b = list(range(nb + na, nb + na + len(fb)))
    # lanes along the side that the result's neighbours lie on
    st = sink.strides

    def last(dims):
        real = [d for d in dims if sink.shape[d] != 1]
        return st[real[-1]] if real else None

    ones_b = [d for d in outdims_b if st[d] == 1 and sink.shape[d] > 1]
    ones_a = [d for d in outdims_a if st[d] == 1 and sink.shape[d] > 1]
    size_a = int(np.prod([sink.shape[d] for d in outdims_a], initial=1))
    size_b = int(np.prod([sink.shape[d] for d in outdims_b], initial=1))
    swap = (
        bool(ones_a and not ones_b)
        or (not ones_a and not ones_b and size_a > size_b)
        or (size_b < 4 and size_a >= 16)
    )
    if swap:
        a, b = b, a
        axes_a, axes_b = axes_b, axes_a
        batch_a, batch_b = batch_b, batch_a
        fa, fb = fb, fa
        outdims_a, outdims_b = outdims_b, outdims_a
        ones_b = ones_a
    # the lane dimension of b
    if not fb:
        fb_l = None
    ln = None
    if fb:
        cand = [i for i, d in enumerate(outdims_b) if st[d] == 1 and sink.shape[d] > 1] or [
            max(range(len(fb)), key=lambda i: b.shape[fb[i]])
        ]
        ln = cand[-1]
    N = b.shape[fb[ln]] if fb else 1
    sBn = b.strides[fb[ln]] if fb else 0
    laxis = outdims_b[ln] if fb else None
    K = (
        _merge([(a.shape[i], a.strides[i], b.strides[j]) for i, j in zip(axes_a, axes_b)])
        if axes_a
        else [(1, 0, 0)]
    )
    # rows: all free dims of a, merged where a's strides chain (index decomposed for the sink)
    L = plan.target.lanes(kind)
    rows = [(a.shape[i], a.strides[i], d) for i, d in zip(fa, outdims_a)]
    m_dims = []
    outer = []
    # take trailing dims that chain in a
    group = []
    for r in reversed(rows):
        if r[0] == 1:
            group.append(r)
            continue
        real = [g for g in group if g[0] != 1]
        if not real or r[1] == real[-1][1] * real[-1][0]:
            group.append(r)
        else:
            outer.append(r)
    # chain: keep only contiguous suffix
    m_dims = list(reversed(group))
    M = int(np.prod([g[0] for g in m_dims], initial=1))
    real = [g for g in m_dims if g[0] != 1]
    sAm = real[-1][1] if real else 0
    # batch loops: (size, sA, sB, out axis)
    loops = [
        (a.shape[i], a.strides[i], b.strides[j], o)
        for o, (i, j) in enumerate(zip(batch_a, batch_b))
    ]
    loops += [(r[0], r[1], 0, r[2]) for r in reversed(outer)]
    loops += [
        (b.shape[fb[i]], 0, b.strides[fb[i]], outdims_b[i]) for i in range(len(fb)) if i != ln
    ]
    loops = [l for l in loops if l[0] != 1]
    nl = int(np.prod([l[0] for l in loops], initial=1))
    KT = int(np.prod([k[0] for k in K]))
    sAk, sBk = K[-1][1], K[-1][2]
    item = 8 if kind == F64 else 4

    def index_of(bb, row, col, bi):
        idx = [0] * len(sink.shape)
        for (n, _, _, o), v in zip(loops, bi):
            idx[o] = v
        r = row
        dims = [g for g in m_dims if g[0] != 1]
        for q in range(len(dims) - 1, -1, -1):
            n, _, o = dims[q]
            if q == 0:
                idx[o] = r
            else:
                idx[o] = bb.binary("urem", r, bb.const(n))
                r = bb.binary("udiv", r, bb.const(n))
        if laxis is not None:
            idx[laxis] = col
        return idx

    flops = 2 * nl * M * N * KT
    # dot form: few rows, b contiguous along k
    if (
        (M < 4 or N == 1)
        and sBk == 1
        and (sAk == 1 or KT == 1)
        and len(K) == 1
        and KT >= L
        and sBn != 1
    ):
        return dot(
            plan, sink, a, b, kind, L, M, sAm, N, sBn, KT, sAk, loops, nl, index_of, laxis, flops
        )
    NV = 2 if N > L else 1
    R = plan.target.registers
    if M < 4 and N >= 4 * L:
        NV = min(8, -(-N // L))
    MR = max(1, min(M, (R - NV - 2) // NV)) if NV <= 2 else max(1, min(M, (R - 4) // NV))
    # even out the row tiles
    t = -(-M // MR)
    MR = -(-M // t)
    NR = NV * L
    panels = -(-N // NR)
    # pack b?
    pack = len(K) > 1 or sBn != 1 or (M > MR * 2 and KT * N * item > 16384)
    # pack b when reused
    if nl > 1 and pack and sBn == 1 and len(K) == 1 and KT * N * item < 65536:
        pack = False
    bl = [l for l in loops if l[2] != 0]
    nbl = int(np.prod([l[0] for l in bl], initial=1))
    if pack:
        packed = plan.scratch(b.dtype, (nbl, panels, KT, NR))
        k = plan.kernel("pack", nbl * panels, KT * NR * 0.15 + 20, nbytes=2 * KT * N * nbl * item)

        def pk(it, k=k):
            from rushlight.loops.nest import decompose

            pi, *bi = list(reversed(decompose(k, it, [*[l[0] for l in bl], panels])))
            bi = list(reversed(bi))
            src = k.const(0)
            for l, v in zip(bl, bi):
                src = src + v * l[2]
            base = k.pointer(b)
            dst = k.pointer(packed)
            d0 = it * (KT * NR)
            col0 = pi * NR
            if sBn == 1 or sBk != 1 or len(K) > 1:

                def nest(q, so, ko):
                    if q == len(K):
                        for v in range(NV):
                            off = so + (col0 + v * L) * sBn
                            left = k.const(N) - (col0 + v * L)
                            mask = None if N % NR == 0 else k.lane_mask(left, L)
                            if sBn == 1:
                                x = k.load(base, off, kind, L, mask=mask)
                            else:
                                offs = k.splat(off, L) + k.lane_numbers(L) * sBn
                                if mask is not None:
                                    offs = k.select(
                                        mask,
                                        offs,
                                        k.splat(
                                            k.select(k.compare("gt", left, k.const(0)), off, so), L
                                        ),
                                    )
                                x = k.gather(base, offs, kind)
                            k.store(x, dst, d0 + ko * NR + v * L)
                        return
                    k.loop(
                        0,
                        K[q][0],
                        lambda i: nest(q + 1, so + i * K[q][2], ko * K[q][0] + i),
                        label="k",
                    )

                nest(0, src, k.const(0))
            else:
                # transposing: L columns x L ks
                def blockk(kk):
                    for v in range(NV):

                        def rowsload(masked):
                            vecs = []
                            for j in range(L):
                                col = col0 + v * L + j
                                c = k.intrinsic("smin", col, k.const(N - 1)) if N % NR else col
                                vecs.append(k.load(base, src + c * sBn + kk, kind, L, mask=masked))
                            return vecs

                        mask = None
                        if KT % L:
                            mask = k.lane_mask(k.const(KT) - kk, L)
                        vecs = transpose(k, rowsload(mask))
                        for j in range(L):
                            if KT % L:
                                k.when(
                                    k.compare("lt", kk + j, k.const(KT)),
                                    lambda j=j: k.store(vecs[j], dst, d0 + (kk + j) * NR + v * L),
                                )
                            else:
                                k.store(vecs[j], dst, d0 + (kk + j) * NR + v * L)

                k.loop(0, KT, blockk, step=L, label="k")

        k.over_items(pk)
    packA = False
    if (M >= MR and sAm * item % 2048 == 0 and sAm and sAk == 1 and KT >= 64 and panels > 1) or (
        len(K) > 1 and panels > 2
    ):
        packA = True
    tiles = -(-M // MR)
    if packA:
        al = [l for l in loops if l[1] != 0]
        nal = int(np.prod([l[0] for l in al], initial=1))
        pa = plan.scratch(a.dtype, (nal, tiles, KT, MR))
        k = plan.kernel(
            "pack_rows", nal * tiles, KT * MR * 0.4 + 20, nbytes=2 * KT * M * nal * item
        )

        def pka(it, k=k):
            from rushlight.loops.nest import decompose

            ds = decompose(k, it, [*[l[0] for l in al], tiles])
            ti = ds[-1]
            src = k.const(0)
            for l, v in zip(al, ds[:-1]):
                src = src + v * l[1]
            base = k.pointer(a)
            dst = k.pointer(pa)

            def nest(q, so, ko):
                if q == len(K):
                    for m in range(MR):
                        r = ti * MR + m
                        if M % MR:
                            r = k.intrinsic("smin", r, k.const(M - 1))
                        k.store(k.load(base, so + r * sAm, kind), dst, it * (KT * MR) + ko * MR + m)
                    return
                k.loop(
                    0, K[q][0], lambda i: nest(q + 1, so + i * K[q][1], ko * K[q][0] + i), label="k"
                )

            nest(0, src, k.const(0))

        k.over_items(pka)
    # items: loops x panels x row blocks
    per_tile = 2 * MR * NR * KT / (100.0 if kind == F32 else 50.0)  # ns
    tb = max(1, int(4000 / max(per_tile, 1)))
    tb = min(tb, tiles)
    total = nl * panels * tiles
    tb = max(1, min(tb, max(1, total // 8)))
    nblk = -(-tiles // tb)
    k = plan.kernel(
        "product",
        nl * panels * nblk,
        per_tile * tb,
        flops=flops,
        nbytes=item * (nl * M * N + nbl * KT * N + nl * M * KT),
    )
    from rushlight.loops.nest import decompose

    def body(it):
        ds = decompose(k, it, [*[l[0] for l in loops], panels, nblk])
        bi, pi, blk = ds[:-2], ds[-2], ds[-1]
        A = k.pointer(a)
        ao = k.const(0)
        bo = k.const(0)
        for l, v in zip(loops, bi):
            ao = ao + v * l[1]
        if pack:
            B = k.pointer(packed)
            pb = k.const(0)
            for l, v in zip(loops, bi):
                if l[2] != 0:
                    pb = pb * l[0] + v
            bo = (pb * panels + pi) * (KT * NR)
            b_k = NR
        else:
            B = k.pointer(b)
            for l, v in zip(loops, bi):
                bo = bo + v * l[2]
            bo = bo + pi * (NR * sBn)
            b_k = sBk
        if packA:
            P = k.pointer(pa)
            pav = k.const(0)
            for l, v in zip(loops, bi):
                if l[1] != 0:
                    pav = pav * l[0] + v
        col0 = pi * NR

        def tile(rows_, row0, tindex, full):
            accs = [k.const(0.0, kind, L)] * (rows_ * NV)
            masks = [
                None if full else k.lane_mask(k.const(N) - (col0 + v * L), L) for v in range(NV)
            ]
            if packA:
                abase = k.address(P, (pav * tiles + tindex) * (KT * MR), kind)
                (sm,) = (1,)
                ak = MR
            else:
                abase = k.address(A, ao + row0 * sAm, kind)
                sm = sAm
                ak = sAk
            bbase = k.address(B, bo, kind)

            def step(ai, bi_, acc):
                new = list(acc)
                vecs = [
                    k.load(bbase, bi_ + v * L, kind, L, mask=None if pack else masks[v])
                    for v in range(NV)
                ]
                for m in range(rows_):
                    s = k.splat(k.load(abase, ai + m * sm, kind), L)
                    for v in range(NV):
                        new[m * NV + v] = k.fma(s, vecs[v], new[m * NV + v])
                return new

            if (packA and pack) or len(K) == 1:
                res = k.loop(0, KT, lambda i, *acc: step(i * ak, i * b_k, acc), accs, label="k")
            else:

                def nest(q, ai, bi_, kk, acc):
                    if q == len(K):
                        return step(ai, (kk * NR if pack else bi_), acc)
                    return k.loop(
                        0,
                        K[q][0],
                        lambda i, *ac: nest(
                            q + 1, ai + i * K[q][1], bi_ + i * K[q][2], kk * K[q][0] + i, ac
                        ),
                        acc,
                        label="k",
                    )

                res = nest(0, k.const(0), k.const(0), k.const(0), accs)
            for m in range(rows_):
                for v in range(NV):
                    idx = index_of(k, row0 + m, col0 + v * L, bi)
                    val = res[m * NV + v]
                    if laxis is None:
                        sink.store(k, idx, k.extract(val, 0))
                    else:
                        sink.store(k, idx, val, laxis, masks[v])

        def alltiles(full):
            ftiles = M // MR
            lo = blk * tb
            hi = k.intrinsic("smin", lo + tb, k.const(tiles)) if tiles % tb else lo + tb
            hf = k.intrinsic("smin", hi, k.const(ftiles)) if M % MR else hi
            if ftiles:
                k.loop(lo, hf, lambda t: tile(MR, t * MR, t, full), label="rows")
            if M % MR:
                k.when(
                    k.compare("eq", hi, k.const(tiles)),
                    lambda: tile(M % MR, k.const(ftiles * MR), k.const(ftiles), full),
                )

        if N % NR == 0 or (laxis is None and False):
            alltiles(True)
        elif panels == 1:
            alltiles(False)
        else:
            k.when(
                k.compare("lt", pi, k.const(panels - 1)),
                lambda: alltiles(True),
                lambda: alltiles(False),
            )

    k.over_items(body)


def transpose(k, vecs):
    n = len(vecs)
    L = n
    w = 1
    cur = list(vecs)
    # log steps of interleaving
    step = n // 2
    while step >= 1:
        nxt = [None] * n
        for i in range(n):
            pass
        # butterfly: exchange blocks of size step
        for i in range(n):
            if (i // step) % 2 == 0:
                x, y = cur[i], cur[i + step]
                lo = []
                hi = []
                for j in range(L):
                    if (j // step) % 2 == 0:
                        lo.append(j)
                    else:
                        lo.append(L + j - step)
                for j in range(L):
                    if (j // step) % 2 == 0:
                        hi.append(j + step)
                    else:
                        hi.append(L + j)
                nxt[i] = k.shuffle(x, y, lo)
                nxt[i + step] = k.shuffle(x, y, hi)
        cur = nxt
        step //= 2
    return cur


def dot(plan, sink, a, b, kind, L, M, sAm, N, sBn, KT, sAk, loops, nl, index_of, laxis, flops):
    from rushlight.loops.nest import along, decompose

    T = 4 if N >= 4 else 1
    blocks = -(-N // T)
    per = KT * T * M * 0.06 + 10
    k = plan.kernel("rows_dot", nl * blocks, per, flops=flops, nbytes=4 * nl * (N * KT))

    def body(it):
        ds = decompose(k, it, [*[l[0] for l in loops], blocks])
        bi, blk = ds[:-1], ds[-1]
        A, B = k.pointer(a), k.pointer(b)
        ao = k.const(0)
        bo = k.const(0)
        for l, v in zip(loops, bi):
            ao = ao + v * l[1]
            bo = bo + v * l[2]
        cols = []
        for t in range(T):
            c = blk * T + t
            if N % T:
                c = k.intrinsic("smin", c, k.const(N - 1))
            cols.append(c)

        def vec(i, w, mask, *acc):
            new = list(acc)
            av = [k.load(A, ao + m * sAm + i, kind, w, mask=mask) for m in range(M)]
            for t in range(T):
                bv = k.load(B, bo + cols[t] * sBn + i, kind, w, mask=mask)
                for m in range(M):
                    new[t * M + m] = k.fma(av[m], bv, new[t * M + m])
            return new

        res = along(k, k.const(0), k.const(KT), L, vec, [k.const(0.0, kind, L)] * (T * M))
        for t in range(T):
            for m in range(M):
                s = k.reduce("add", res[t * M + m])
                idx = index_of(k, k.const(m), cols[t], bi)
                sink.store(k, idx, s)

    k.over_items(body)


contract.define_lowering(lower)
