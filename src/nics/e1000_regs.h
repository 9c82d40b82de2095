/* SPDX-License-Identifier: BSD-3-Clause */
/* The registers of the 8254x by the manual's names, and their bits (8254x manual, chapter 13). */
#ifndef NICS_E1000_REGS_H
#define NICS_E1000_REGS_H

/*
 * X(name, offset, count, stride): one register, or an array. Each element has a slot in struct
 * e1000's reg[], named R_<name>. What reads and writes do stands in the table of e1000_regs.c.
 */
#define E1000_REGS(X)                                                                              \
	X(CTRL, 0x0000, 1, 4)                                                                      \
	X(STATUS, 0x0008, 1, 4)                                                                    \
	X(EECD, 0x0010, 1, 4)                                                                      \
	X(EERD, 0x0014, 1, 4)                                                                      \
	X(CTRL_EXT, 0x0018, 1, 4)                                                                  \
	X(FLA, 0x001c, 1, 4)                                                                       \
	X(MDIC, 0x0020, 1, 4)                                                                      \
	X(FCAL, 0x0028, 1, 4)                                                                      \
	X(FCAH, 0x002c, 1, 4)                                                                      \
	X(FCT, 0x0030, 1, 4)                                                                       \
	X(VET, 0x0038, 1, 4)                                                                       \
	X(ICR, 0x00c0, 1, 4)                                                                       \
	X(ITR, 0x00c4, 1, 4)                                                                       \
	X(ICS, 0x00c8, 1, 4)                                                                       \
	X(IMS, 0x00d0, 1, 4)                                                                       \
	X(IMC, 0x00d8, 1, 4)                                                                       \
	X(RCTL, 0x0100, 1, 4)                                                                      \
	X(FCTTV, 0x0170, 1, 4)                                                                     \
	X(TXCW, 0x0178, 1, 4)                                                                      \
	X(RXCW, 0x0180, 1, 4)                                                                      \
	X(TCTL, 0x0400, 1, 4)                                                                      \
	X(TIPG, 0x0410, 1, 4)                                                                      \
	X(AIT, 0x0458, 1, 4)                                                                       \
	X(LEDCTL, 0x0e00, 1, 4)                                                                    \
	X(PBA, 0x1000, 1, 4)                                                                       \
	X(FCRTL, 0x2160, 1, 4)                                                                     \
	X(FCRTH, 0x2168, 1, 4)                                                                     \
	X(RDFH, 0x2410, 1, 4)                                                                      \
	X(RDFT, 0x2418, 1, 4)                                                                      \
	X(RDFHS, 0x2420, 1, 4)                                                                     \
	X(RDFTS, 0x2428, 1, 4)                                                                     \
	X(RDFPC, 0x2430, 1, 4)                                                                     \
	X(RDBAL, 0x2800, 1, 4)                                                                     \
	X(RDBAH, 0x2804, 1, 4)                                                                     \
	X(RDLEN, 0x2808, 1, 4)                                                                     \
	X(RDH, 0x2810, 1, 4)                                                                       \
	X(RDT, 0x2818, 1, 4)                                                                       \
	X(RDTR, 0x2820, 1, 4)                                                                      \
	X(RXDCTL, 0x2828, 1, 4)                                                                    \
	X(RADV, 0x282c, 1, 4)                                                                      \
	X(RSRPD, 0x2c00, 1, 4)                                                                     \
	X(TXDMAC, 0x3000, 1, 4)                                                                    \
	X(TDFH, 0x3410, 1, 4)                                                                      \
	X(TDFT, 0x3418, 1, 4)                                                                      \
	X(TDFHS, 0x3420, 1, 4)                                                                     \
	X(TDFTS, 0x3428, 1, 4)                                                                     \
	X(TDFPC, 0x3430, 1, 4)                                                                     \
	X(TDBAL, 0x3800, 1, 4)                                                                     \
	X(TDBAH, 0x3804, 1, 4)                                                                     \
	X(TDLEN, 0x3808, 1, 4)                                                                     \
	X(TDH, 0x3810, 1, 4)                                                                       \
	X(TDT, 0x3818, 1, 4)                                                                       \
	X(TIDV, 0x3820, 1, 4)                                                                      \
	X(TXDCTL, 0x3828, 1, 4)                                                                    \
	X(TADV, 0x382c, 1, 4)                                                                      \
	X(TSPMT, 0x3830, 1, 4)                                                                     \
	X(STATS, 0x4000, 64, 4)                                                                    \
	X(RXCSUM, 0x5000, 1, 4)                                                                    \
	X(MTA, 0x5200, 128, 4)                                                                     \
	X(RA, 0x5400, 32, 4)                                                                       \
	X(VFTA, 0x5600, 128, 4)                                                                    \
	X(WUC, 0x5800, 1, 4)                                                                       \
	X(WUFC, 0x5808, 1, 4)                                                                      \
	X(WUS, 0x5810, 1, 4)                                                                       \
	X(MANC, 0x5820, 1, 4)                                                                      \
	X(IPAV, 0x5838, 1, 4)                                                                      \
	X(IP4AT, 0x5840, 4, 8)                                                                     \
	X(IP6AT, 0x5880, 4, 4)                                                                     \
	X(WUPL, 0x5900, 1, 4)                                                                      \
	X(WUPM, 0x5a00, 32, 4)                                                                     \
	X(SWSM, 0x5b50, 1, 4)                                                                      \
	X(FFLT, 0x5f00, 4, 8)                                                                      \
	X(FFMT, 0x9000, 128, 8)                                                                    \
	X(FFVT, 0x9800, 128, 8)

enum e1000_slot {
#define X(name, off, count, stride) R_##name, R_##name##_LAST = R_##name + (count)-1,
	E1000_REGS(X)
#undef X
		E1000_N_SLOTS
};

/* Bits, named <register>_<bit> as the manual prints them; sections 13.4.x. */
enum {
	CTRL_FD = 1 << 0,
	CTRL_LRST = 1 << 3,
	CTRL_ASDE = 1 << 5,
	CTRL_SLU = 1 << 6,
	CTRL_SPD_1000 = 2 << 8,
	CTRL_FRCSPD = 1 << 11,
	CTRL_FRCDPLX = 1 << 12,
	CTRL_RST = 1 << 26,
	CTRL_RFCE = 1 << 27,
	CTRL_TFCE = 1 << 28,
	CTRL_VME = 1 << 30,
};
#define CTRL_PHY_RST (1u << 31)

enum {
	STATUS_FD = 1 << 0,
	STATUS_LU = 1 << 1,
	STATUS_SPD_1000 = 2 << 6,
	STATUS_ASDV_1000 = 2 << 8,
};

enum {
	ICR_TXDW = 1 << 0,
	ICR_TXQE = 1 << 1,
	ICR_LSC = 1 << 2,
	ICR_RXSEQ = 1 << 3,
	ICR_RXDMT0 = 1 << 4,
	ICR_RXO = 1 << 6,
	ICR_RXT0 = 1 << 7,
	ICR_MDAC = 1 << 9,
	ICR_TXD_LOW = 1 << 15,
	ICR_SRPD = 1 << 16,
};

enum {
	RCTL_EN = 1 << 1,
	RCTL_SBP = 1 << 2,
	RCTL_UPE = 1 << 3,
	RCTL_MPE = 1 << 4,
	RCTL_LPE = 1 << 5,
	RCTL_LBM = 3 << 6,
	RCTL_RDMTS = 3 << 8,
	RCTL_RDMTS_SHIFT = 8,
	RCTL_MO = 3 << 12,
	RCTL_MO_SHIFT = 12,
	RCTL_BAM = 1 << 15,
	RCTL_BSIZE = 3 << 16,
	RCTL_BSIZE_SHIFT = 16,
	RCTL_VFE = 1 << 18,
	RCTL_CFIEN = 1 << 19,
	RCTL_CFI = 1 << 20,
	RCTL_DPF = 1 << 22,
	RCTL_PMCF = 1 << 23,
	RCTL_BSEX = 1 << 25,
	RCTL_SECRC = 1 << 26,
};

enum { TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3 };

enum { RXCSUM_PCSS = 0xff, RXCSUM_IPOFL = 1 << 8, RXCSUM_TUOFL = 1 << 9 };

#define RAH_AV (1u << 31)

/* Receive descriptor (3.2.3): status and errors. */
enum {
	RXD_DD = 0x01,
	RXD_EOP = 0x02,
	RXD_IXSM = 0x04,
	RXD_VP = 0x08,
	RXD_TCPCS = 0x20,
	RXD_IPCS = 0x40,
	RXD_PIF = 0x80,
};
enum { RXE_CE = 0x01, RXE_TCPE = 0x20, RXE_IPE = 0x40 };

/* Transmit descriptors (3.3.3, 3.3.6, 3.3.7): command byte, status, options. */
enum {
	TXD_EOP = 0x01,
	TXD_IFCS = 0x02,
	TXD_IC = 0x04 /* legacy */,
	TXD_TSE = 0x04 /* context and data */,
	TXD_RS = 0x08,
	TXD_RPS = 0x10,
	TXD_DEXT = 0x20,
	TXD_VLE = 0x40,
	TXD_IDE = 0x80,
};
enum { TXD_DTYP_CONTEXT = 0, TXD_DTYP_DATA = 1 };
enum { TXD_DD = 0x01, TXD_EC = 0x02, TXD_LC = 0x04, TXD_TU = 0x08 };
enum { TXD_IXSM = 0x01, TXD_TXSM = 0x02 };
enum { TUCMD_TCP = 0x01, TUCMD_IP = 0x02, TUCMD_TSE = 0x04 };

#endif
