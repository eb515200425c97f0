import torch,glob
torch.set_num_threads(1)
from t import load
for f in sorted(glob.glob("/work/attack/out/visual_question_answering/*.py")):
    m=load(f); r=[]
    held=torch.tensor([[0,1],[0,0]]).bool()
    r.append([t.tolist() for t in m.compositional_split(torch.tensor([[[0,0],[1,1]],[[1,0],[0,1]]]),held)])
    try: m.compositional_split(torch.zeros(1,1,2).long(), torch.tensor([[0,1],[0,1]]).bool())
    except ValueError as x: r.append(str(x))
    R=m.spatial_relations(torch.tensor([[1.,1],[3,2],[2,4]])); r.append([R[k].nonzero().tolist() for k in R])
    r.append([m.exist(torch.tensor(x)).item() for x in ([.5,.5],[.5,0,1.])]+[m.exist(torch.zeros(2,0)).tolist()])
    r.append(m.relate(torch.tensor([0,.5,1]),R["left"]).tolist())
    r.append(m.query(torch.tensor([.2,.6]),torch.tensor([[1.,0],[.5,.5]])).tolist())
    z=torch.zeros(2,requires_grad=True); q=m.query(z,torch.ones(2,2)); q.sum().backward(); r.append((q.tolist(),z.grad.tolist()))
    for s in ("how many red squares left of the circle are there?","is there a square above a circle or a cross","what color is the square left of the circle?"):
        r.append(" ".join("-".join(p).strip("-") for p in m.parse(s)))
    try: m.parse("where is it?"); r.append("bad")
    except ValueError as x: r.append(str(x))
    at={"shape":torch.tensor([[1.,0,0],[0,1,0],[0,0,1]])}; v={"shape":["square","circle","cross"]}
    r.append([m.execute(m.parse(s),v,at,R).tolist() for s in ("how many squares or objects above the circle are there?","what shape is the square left of circle?","is there cross")])
    torch.manual_seed(0); M=m.VQAModel(3,2,4,8,10,5)
    torch.manual_seed(1)
    for p in M.parameters(): torch.nn.init.normal_(p)
    im=torch.randn(2,3,4,4)
    o=M(im,torch.tensor([[1,0,2],[3,0,0]])); r.append(round(o[0].sum().item(),3)); r.append(round(o[1].sum().item(),3))
    r.append(tuple(M.finder(torch.randn(2,1,4,8),torch.ones(2,3).long()).shape))
    print(f[-11:],*r,sep="\n   ")
